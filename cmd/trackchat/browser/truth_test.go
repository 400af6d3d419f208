package browser

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"trackchat/cmd/trackchat/apptest"
	"trackchat/cmd/trackchat/config"
	"trackchat/gateway/trackersim"
	"trackchat/protocol"
	"trackchat/queue/queuetest"

	cdppage "github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
)

// Trackers of the tests that the console says what is true; odd ones speak JT/T 808 in GBK.
const (
	amberTracker = 1 + iota
	badTracker
	choiceTracker
	draftTracker
	silentTracker
	sleepingTracker // never connected
	urgentTracker
	truthTrackers = urgentTracker
)

// TestConsoleTruth holds what the console shows to what has happened.
func TestConsoleTruth(t *testing.T) {
	cfg := apptest.Config(t, truthTrackers)
	cfg.Gateway.AckTimeout = []config.Duration{config.Duration(time.Minute)}
	c := &consoleRig{service: startService(t, cfg), browser: startBrowser(t)}
	t.Run("what a device cannot show", c.testReplaced)
	t.Run("charsets", c.testCharsets)
	t.Run("texts that end badly", c.testProblems)
	t.Run("a device that does not answer", c.testUnanswered)
	t.Run("answers and quotes", c.testChoices)
	t.Run("drafts", c.testDrafts)
	t.Run("urgent", c.testUrgent)
	t.Run("unsent", c.testUnsent)
	t.Run("broadcasts", c.testBroadcasts)
	t.Run("silence", c.testSilence)
}

// shot keeps a picture of the page as NAME.png in the directory that TRACKCHAT_SHOTS names, if it
// names one.
func (p *page) shot(name string) {
	p.t.Helper()
	dir := os.Getenv("TRACKCHAT_SHOTS")
	if dir == "" {
		return
	}
	apptest.Must(p.t, os.MkdirAll(dir, 0o750))
	data := devtools(p, cdppage.CaptureScreenshot, cdppage.CaptureScreenshotParams{}).Data
	apptest.Must(p.t, os.WriteFile(filepath.Join(filepath.Clean(dir), name+".png"), data, 0o600))
}

// run runs a script.
func (p *page) run(script string) {
	p.t.Helper()
	p.do(chromedp.Evaluate[chromedp.Void](script))
}

// pick chooses a value of the select element name.
func (p *page) pick(name, value string) {
	p.t.Helper()
	p.run(fmt.Sprintf(`{
  const s = document.querySelector('select[name=%s]');
  s.value = %q;
  for (const name of ['input', 'change']) s.dispatchEvent(new Event(name));
}`, name, value))
}

// signOut chooses that in the menu.
func (p *page) signOut() {
	p.t.Helper()
	p.click(`.side .popup .iconbutton`)
	p.run(`[...document.querySelectorAll('.choice')].find(e => e.textContent === 'Sign out').click()`)
}

// visit opens a tracker's conversation by its address.
func (p *page) visit(id int) {
	p.t.Helper()
	p.run(fmt.Sprintf(`location.hash = '#/t/%d'`, id))
	p.until(`document.querySelector('.conversation .note')?.textContent.includes('Loading') === false`)
}

// act clicks the button of a message that says words.
func (p *page) act(text, words string) {
	p.t.Helper()
	button := `[...` + bubble(text) + `?.querySelectorAll('.actions button') ?? []]` +
		fmt.Sprintf(`.find(e => e.textContent === %q)`, words)
	p.until(button + ` !== undefined`)
	p.run(button + `.click()`)
}

// marked is an expression: what the list of trackers says of one.
func marked(tracker int) string {
	mark := fmt.Sprintf(`document.querySelector('#tracker-%d .problem')`, tracker)
	return `(e => e && !e.hidden ? e.textContent : '')(` + mark + `)`
}

func (c *consoleRig) testReplaced(t *testing.T) {
	const text = "Płońsk 🚚 → gate 7"
	p := c.console(t)
	p.visit(amberTracker)
	p.write(".composer textarea", "plain")
	p.until(`document.querySelector('.warnings').hidden`)
	p.run(`document.querySelector('.composer textarea').value = ''`)
	p.write(".composer textarea", text)
	p.until(shows(".warnings", "This device cannot show ł 🚚: the driver sees look-alikes"))
	p.legible()
	p.shot("10-composer-warns")
	p.enter()
	p.until(`document.querySelector('.warnings').hidden`)
	c.play(t, amberTracker, nil)
	p.until(bubble(text) + `?.dataset.state === 'DELIVERED'`)
	p.until(bubble(text) + `.textContent.includes(', but 2 characters could not be shown')`)
	c.API.Delivered(amberTracker, c.API.Send(amberTracker, "plain words"))
	p.until(bubble("plain words") + `?.dataset.state === 'DELIVERED'`)
	color := func(text string) string {
		return eval[string](p, `getComputedStyle(`+bubble(text)+`.querySelector('.state')).color`)
	}
	named := func(name string) string {
		return eval[string](p, `(e => {
  e.style.color = 'var(--`+name+`)';
  document.body.append(e);
  const { color } = getComputedStyle(e);
  e.remove();
  return color;
})(document.createElement('p'))`)
	}
	if got := color(text); got != named("warn") {
		t.Errorf("the ticks of a text that was not shown as written are %s", got)
	}
	if got := color("plain words"); got != named("good") {
		t.Errorf("the ticks of a text that was shown are %s", got)
	}
	p.shot("10-amber-ticks")
}

// testCharsets: the page and the gateway agree on what each charset lacks.
func (c *consoleRig) testCharsets(t *testing.T) {
	p := c.console(t)
	for name, cs := range map[string]protocol.Charset{
		"utf8": protocol.UTF8(), "gbk": protocol.GBK(), "cp1251": protocol.Windows1251(),
		"ucs2": protocol.UTF16(true),
	} {
		p.run(`delete window.found; import('/console/js/charset.js').then(({ shows }) => {
  window.found = [];
  for (let c = 0x80; c < 0x20000; c++) {
    if (c >= 0xD800 && c <= 0xF8FF) continue;
    if (shows('` + name + `', String.fromCodePoint(c))) window.found.push(c);
  }
}); 0`)
		p.until(`window.found !== undefined`)
		found := eval[[]int](p, `window.found`)
		var want []int
		for r := rune(0x80); r < 0x20000; r++ {
			if r >= 0xD800 && r <= 0xF8FF { // surrogates and private use are refused by the API
				continue
			}
			if !cs.Lossy(r) {
				want = append(want, int(r))
			}
		}
		if !slices.Equal(found, want) {
			t.Errorf("%s: the page and the gateway differ in %s", name, difference(found, want))
		}
	}
}

// difference names some of the numbers that only one of two lists holds.
func difference(a, b []int) string {
	var out []string
	for _, n := range a {
		if _, ok := slices.BinarySearch(b, n); !ok && len(out) < 20 {
			out = append(out, fmt.Sprintf("+%U", n))
		}
	}
	for _, n := range b {
		if _, ok := slices.BinarySearch(a, n); !ok && len(out) < 40 {
			out = append(out, fmt.Sprintf("-%U", n))
		}
	}
	return strings.Join(out, " ")
}

func (c *consoleRig) testProblems(t *testing.T) {
	p := c.console(t)
	p.visit(sleepingTracker)
	a := c.API.Call("send", "tracker_id", strconv.Itoa(badTracker), "message", "Too late", "ttl",
		"1")
	if !a.Success {
		t.Fatalf("%+v", a)
	}
	p.until(marked(badTracker) + ` === '1' && ` + shows(".filter", "Problems (1)"))
	p.until(shows(".toast.bad", "Truck 2: expired, not delivered"))
	p.legible()
	p.shot("12-problem-in-the-list")
	c.play(t, badTracker, func(o *trackersim.Options) {
		o.OnText = func(e protocol.DeviceEvent) trackersim.Action {
			if e.Body == "Refuse this" {
				return trackersim.Action{Outcome: protocol.AckUnsupported}
			}
			return trackersim.Action{}
		}
	})
	c.API.Send(badTracker, "Refuse this")
	p.until(marked(badTracker) + ` === '2'`)
	p.run(`document.querySelector('.filter[data-name=problems]').click()`)
	p.until(`[...document.querySelectorAll('.row')].length === 2`) // it and the one that is open
	p.do(chromedp.Reload())
	p.until(marked(badTracker) + ` === '2'`)
	q := c.console(t) // who comes later sees it too
	q.until(marked(badTracker) + ` === '2'`)

	p.visit(badTracker)
	p.until(bubble("Refuse this") + `?.dataset.state === 'FAILED'`)
	p.shot("12-failed-and-expired")
	p.act("Refuse this", "Done with it")
	p.until(marked(badTracker) + ` === '1'`)
	p.act("Too late", "Send again")
	p.until(marked(badTracker) + ` === '' && ` + shows(".filter", "Problems"))
	apptest.Eventually(t, "sent again", func() bool {
		ms := c.API.List(badTracker)
		return len(ms) == 3 && ms[2].Text == "Too late"
	})
	p.act("Too late", "Send again") // the first one of them
	p.do(chromedp.Reload())
	p.until(`document.querySelectorAll('.bubble').length === 3`)
	if ms := c.API.List(badTracker); len(ms) != 3 {
		t.Errorf("sent %d texts", len(ms))
	}
}

func (c *consoleRig) testUnanswered(t *testing.T) {
	p := c.console(t)
	d := c.play(t, silentTracker, func(o *trackersim.Options) {
		o.OnText = func(protocol.DeviceEvent) trackersim.Action {
			return trackersim.Action{
				Never: true,
			}
		}
	})
	apptest.Must(t, d.Say(t.Context(), "I am here"))
	c.API.Send(silentTracker, "Do you hear me?")
	dot := fmt.Sprintf(`document.querySelector('#tracker-%d .dot')`, silentTracker)
	p.until(dot + `?.dataset.presence === 'online'`)
	p.visit(silentTracker)
	p.until(bubble("Do you hear me?") + `?.textContent.includes('waiting for the device')`)
	// Three minutes pass.
	p.run(`{const now = Date.now; Date.now = () => now() + 180_000}`)
	p.until(bubble("Do you hear me?") + `?.textContent.includes('no answer from the device since')`)
	p.until(marked(silentTracker) + ` === '1'`)
	p.legible()
	p.shot("12-no-answer")
	p.act("Do you hear me?", "Cancel")
	p.until(marked(silentTracker) + ` === ''`)
}

func (c *consoleRig) testChoices(t *testing.T) {
	const question = "Can you take another load?"
	c.play(t, choiceTracker, func(o *trackersim.Options) {
		o.OnText = func(e protocol.DeviceEvent) trackersim.Action {
			return trackersim.Action{Choice: min(len(e.Choices), 2)}
		}
	})
	p, q := c.console(t), c.console(t)
	p.visit(choiceTracker)
	q.visit(choiceTracker)
	p.click(`[aria-label="Time limit and answers"]`)
	p.write(`textarea[name=choices]`, "Yes\nNo")
	p.write(".composer .write > textarea", question)
	p.enter()
	for _, x := range []*page{p, q} {
		answers := bubble(question) + `?.querySelector('.choices')?.innerText`
		x.until(answers + `?.split(/\s+/).join() === 'Yes,No'`)
		x.until(bubble("No") + `?.querySelector('.answered')?.textContent === '` + question + `'`)
	}
	p.act("No", "Reply")
	p.write(".composer .write > textarea", "Why not?")
	p.enter()
	for _, x := range []*page{p, q} {
		x.until(bubble("Why not?") + `?.querySelector('.answered')?.textContent === 'No'`)
	}
	p.legible()
	p.shot("14-answers-and-quotes")
}

func (c *consoleRig) testDrafts(t *testing.T) {
	p := c.console(t)
	p.visit(choiceTracker)
	p.act("No", "Reply")
	p.click(`[aria-label="Time limit and answers"]`)
	p.pick("ttl", "3600")
	p.write(`textarea[name=choices]`, "Soon\nLater")
	p.write(".composer .write > textarea", "Half a th")
	whole := func(when, limit string) {
		t.Helper()
		p.until(`document.querySelector('.composer .write > textarea')?.value === 'Half a th'`)
		if got := eval[string](p, `document.querySelector('.quoted .quote')?.textContent`); got !=
			"No" {
			t.Errorf("after %s the quote is %q", when, got)
		}
		got := eval[string](p, `document.querySelector('.below').textContent`)
		if !strings.Contains(got, limit) {
			t.Errorf("after %s the limit and the answers are %q", when, got)
		}
	}
	p.do(chromedp.Reload())
	whole("a reload", "expires after 1 hour · 2 answers")
	p.visit(draftTracker)
	p.until(`document.querySelector('.composer .write > textarea').value === ''`)
	p.visit(choiceTracker)
	whole("another tracker", "expires after 1 hour · 2 answers")
	p.click(`.side .popup .iconbutton`)
	p.pick("language", "de")
	p.until(shows(".filter", "Ungelesen"))
	whole("another language", "läuft ab nach: 1 Stunde · 2 Antworten")
	p.shot("13-draft-in-german")
	p.run(`document.querySelector('.composer .write > textarea').value = ''`)

	// A session ends, and the same person signs in again.
	p = c.browser.open(t, c.url(), 1280, 800)
	signIn := func() {
		p.write(`input[name=login]`, "demo")
		p.write(`input[name=password]`, "demo")
		p.click(`button[type=submit]`)
		p.until(`document.querySelector('.row') !== null`)
	}
	signIn()
	p.visit(draftTracker)
	p.write(".composer textarea", "Not lost")
	hash := eval[string](p, `JSON.parse(sessionStorage.getItem('trackchat.login')).hash`)
	p.run(`fetch('/v2/user/logout?hash=` + hash + `'); 0`)
	p.until(shows(".notice", "Your session has ended"))
	signIn()
	p.until(`document.querySelector('.composer textarea')?.value === 'Not lost'`)
	p.signOut()
	p.until(`document.querySelector('.login') !== null`)
	if eval[bool](p, `Object.values(sessionStorage).some(v => v.includes('Not lost'))`) {
		t.Error("signing out leaves a draft behind")
	}
}

// testUrgent: what is sent as urgent is marked, over a reload, in other windows and at the device,
// and the next text is not; the console says where a device makes no difference.
func (c *consoleRig) testUrgent(t *testing.T) {
	heard := make(chan protocol.DeviceEvent, 10)
	c.play(t, urgentTracker, func(o *trackersim.Options) {
		o.OnText = func(e protocol.DeviceEvent) trackersim.Action {
			heard <- e
			return trackersim.Action{}
		}
	})
	const field, toggle = ".composer .write > textarea", ".composer .urgent"
	pressed := fmt.Sprintf(`document.querySelector(%q)?.getAttribute('aria-pressed')`, toggle)
	p, q := c.console(t), c.console(t)
	p.visit(urgentTracker)
	q.visit(urgentTracker)
	p.click(toggle)
	p.write(field, "Stop at once")
	p.do(chromedp.Reload())
	p.until(pressed + ` === 'true' && document.querySelector('` + field +
		`').value === 'Stop at once'`)
	p.shot("15-urgent-composer")
	p.click(field)
	p.enter()
	p.until(bubble("Stop at once") + ` && ` + pressed + ` === 'false'`)
	p.write(field, "Thank you")
	p.enter()
	for text, urgent := range map[string]bool{"Stop at once": true, "Thank you": false} {
		for _, x := range []*page{p, q} {
			x.until(bubble(text) + `?.dataset.state === 'DELIVERED'`)
			if got := eval[bool](x, bubble(text)+
				`.querySelector('.urgent').checkVisibility()`); got != urgent {
				t.Errorf("%s: marked as urgent: %v", text, got)
			}
		}
		if e := <-heard; e.Urgent != (e.Body == "Stop at once") {
			t.Errorf("the device got %+v", e)
		}
	}
	for _, text := range []string{"Gate 7", "Gate 8", "Gate 9"} {
		c.API.Delivered(urgentTracker, c.API.Send(urgentTracker, text))
	}
	q.do(chromedp.Reload())
	q.until(bubble("Stop at once") + `?.querySelector('.urgent')?.innerText === 'Urgent'`)
	q.legible()
	q.shot("15-urgent")
	if !eval[bool](p, `document.querySelector('.warnings').hidden`) {
		t.Error("warned of a device that can tell")
	}
	p.visit(draftTracker)
	p.write(field, "Storm")
	p.until(pressed + ` === 'false' && document.querySelector('.warnings').hidden`)
	p.click(toggle)
	p.until(shows(".warnings", "This device does not tell urgent texts from others."))
	p.click(toggle)
	p.until(`document.querySelector('.warnings').hidden`)
	p.run(`document.querySelector('` + field + `').value = ''`)
}

func (c *consoleRig) testUnsent(t *testing.T) {
	proxy := queuetest.StartProxy(t, c.Addrs["api"])
	p := c.signedIn(t, "http://"+proxy.Addr+"/", apptest.Key, 1280, 800)
	p.visit(draftTracker)
	p.until(`document.querySelector('.connection').dataset.state === 'live'`)
	proxy.Refuse(true)
	proxy.Cut()
	p.until(`document.querySelector('.connection').dataset.state === 'down'`)
	p.write(".composer textarea", "Into the dark")
	p.enter()
	p.until(bubble("Into the dark") + `?.dataset.state === 'UNSENT'`)
	p.until(marked(draftTracker) + ` === '1'`)
	p.legible()
	p.shot("13-unsent")
	proxy.Refuse(false)
	p.do(chromedp.Reload())
	p.until(bubble("Into the dark") + `?.dataset.state === 'UNSENT'`)
	p.until(marked(draftTracker) + ` === '1'`)
	p.signOut()
	p.until(shows("dialog", "1 text is not sent yet and is lost when you sign out."))
	p.shot("13-sign-out")
	p.click(`dialog footer .button`) // stay
	p.act("Into the dark", "Try again")
	p.until(bubble("Into the dark") + `?.dataset.state === 'QUEUED'`)
	p.until(marked(draftTracker) + ` === ''`)
	if ms := c.API.List(draftTracker); len(ms) != 1 {
		t.Errorf("stored %d times", len(ms))
	}
}

func (c *consoleRig) testBroadcasts(t *testing.T) {
	p := c.console(t)
	p.click(`[aria-label="Write to several trackers"]`)
	for _, id := range []int{amberTracker, draftTracker} {
		p.click(fmt.Sprintf("#tracker-%d", id))
	}
	p.click(".selectbar .primary")
	p.write(".composer textarea", "Storm → ⚡")
	p.until(shows(".warnings", "1 of the devices cannot show ⚡"))
	p.do(chromedp.Reload())
	const written = `document.querySelector('.composer textarea').value`
	p.until(shows("h1", "To 2 trackers") + ` && ` + written + ` === 'Storm → ⚡'`)
	p.until(shows(".chips bdi", "Truck 1"))
	p.until(shows(".warnings", "1 of the devices cannot show ⚡"))
	p.shot("13-broadcast-draft")
	p.click(".composer textarea")
	p.enter()
	p.until(shows(".summary", "Sent to 2 trackers"))
	c.play(t, amberTracker, nil)
	p.until(shows(".results .replaced .state", "1 character could not be shown"))
	p.do(chromedp.Reload())
	p.until(shows(".summary", "Sent to 2 trackers · 1 delivered · 1 not shown as written"))
	p.until(shows(".row .label", "Truck 1")) // the list may come later than the result
	p.legible()
	p.shot("13-broadcast-result")
	p.run(`location.hash = '#/broadcast'`)
	p.until(shows("h1", "To 2 trackers") + ` && ` + written + ` === ''`)
	p.run(`location.hash = '#/broadcasts'`)
	p.until(shows(".history .quote", "Storm"))
	p.until(shows(".history .about", "Sent to 2 trackers · 1 delivered"))
	p.shot("13-broadcast-history")
	p.click(".history .choice")
	p.until(shows(".summary", "Sent to 2 trackers"))
	for _, id := range []int{amberTracker, draftTracker} {
		n := 0
		for _, m := range c.API.List(id) {
			if m.Text == "Storm → ⚡" {
				n++
			}
		}
		if n != 1 {
			t.Errorf("tracker %d got it %d times", id, n)
		}
	}
}

// testSilence: a connection over which nothing comes any more is none.
func (c *consoleRig) testSilence(t *testing.T) {
	proxy := queuetest.StartProxy(t, c.Addrs["api"])
	p := c.signedIn(t, "http://"+proxy.Addr+"/", apptest.Key, 1280, 800)
	p.until(`document.querySelector('.connection').dataset.state === 'live'`)
	proxy.Stall()
	p.until(`document.querySelector('.connection').dataset.state === 'down'`)
	p.until(shows(".banner", "No connection to the server."))
	proxy.Resume()
	p.until(`document.querySelector('.connection').dataset.state === 'live'`)
}

// TestConsoleWithoutStore: the server is there and its store is not.
func TestConsoleWithoutStore(t *testing.T) {
	proxy := queuetest.StartProxy(t, queuetest.StartRedis(t).Addr)
	cfg := apptest.Config(t, 1)
	cfg.Store.Backend, cfg.Store.Redis.Addrs = config.BackendRedis, []string{proxy.Addr}
	c := &consoleRig{service: startService(t, cfg), browser: startBrowser(t)}
	p := c.console(t)
	q := c.browser.open(t, c.url(), 1280, 800)
	q.write(`input[name=login]`, "demo")
	q.write(`input[name=password]`, "demo")
	q.click(`button[type=submit]`)
	state := `document.querySelector('.connection')?.dataset.state`
	for _, x := range []*page{p, q} {
		x.until(state + ` === 'live'`)
	}
	proxy.Refuse(true)
	proxy.Cut()
	p.until(state + ` === 'store' && ` + shows(".banner", "cannot reach its message store"))
	p.shot("11-store-down")
	p.visit(1)
	p.write(".composer textarea", "Try this")
	p.enter()
	p.until(bubble("Try this") + `?.dataset.state === 'UNSENT' && ` + state + ` === 'store'`)
	p.shot("11-unsent-while-down")
	p.do(chromedp.Reload())
	p.until(`document.querySelector('.row') !== null && ` + state + ` === 'store'`)
	q.do(chromedp.Reload()) // a session is known to the store alone
	q.until(shows(".splash", "The server has no connection to its message store."))
	q.shot("11-reload-while-down")
	proxy.Refuse(false)
	for _, x := range []*page{p, q} {
		x.until(state + ` === 'live' && document.querySelector('.banner').hidden`)
	}
	p.act("Try this", "Try again")
	p.until(bubble("Try this") + `?.dataset.state === 'QUEUED'`)
}
