package browser

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"trackchat/cmd/trackchat/apptest"
	"trackchat/cmd/trackchat/config"
	"trackchat/gateway/trackersim"
	"trackchat/protocol"

	"github.com/chromedp/cdproto/accessibility"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

func (c *consoleRig) testHistory(t *testing.T) {
	const messages = 600 // two pages and a bit
	for i := range messages {
		c.API.Send(historyTracker, "message "+strconv.Itoa(i))
	}
	p := c.console(t)
	p.choose(historyTracker)
	p.until(bubble("message 599") + ` !== undefined`)
	if n := eval[int](p, `document.querySelectorAll('.bubble').length`); n >= messages {
		t.Errorf("%d messages at first", n)
	}
	for _, oldest := range []string{"message 550", "message 0"} {
		// What is seen stays where it is while older messages come before it.
		p.until(`(document.querySelector('.log').scrollTop = 0, ` + bubble(oldest) +
			` !== undefined)`)
	}
	if got := eval[string](p,
		`[...document.querySelectorAll('.bubble .text')].map(e => e.textContent.slice(8)).join(' ')`); !strings.HasPrefix(numbers(messages), got+" ") {
		t.Errorf("shown are %s", got) // and what is far below is not drawn
	}
	p.do(chromedp.Evaluate[chromedp.Void](`document.querySelector('.log').scrollTop = 0`))
	p.click(".jump")
	p.until(`document.querySelector('.jump').hidden`)
}

// numbers returns "0 1 2 …" up to n.
func numbers(n int) string {
	words := make([]string, n)
	for i := range words {
		words[i] = strconv.Itoa(i)
	}
	return strings.Join(words, " ")
}

// testEndings: what becomes of a message that the device never acknowledges.
func (c *consoleRig) testEndings(t *testing.T) {
	p := c.console(t)
	p.choose(cancelTracker)
	p.write(".composer textarea", "Never mind")
	p.enter()
	p.until(bubble("Never mind") + `?.dataset.state === 'QUEUED'`)
	p.do(chromedp.Evaluate[chromedp.Void](bubble("Never mind") +
		`.querySelector('.actions button').click()`))
	p.until(bubble("Never mind") + `?.dataset.state === 'CANCELLED'`)
	apptest.Eventually(t, "cancelled", func() bool { return c.state(cancelTracker) == "CANCELLED" })

	a := c.API.Call("send", "tracker_id", strconv.Itoa(cancelTracker), "message", "Soon over",
		"ttl", "1")
	if !a.Success {
		t.Fatalf("%+v", a)
	}
	p.until(bubble("Soon over") + `?.dataset.state === 'EXPIRED'`)

	p.choose(failingTracker)
	c.play(t, failingTracker, func(o *trackersim.Options) {
		o.OnText = func(protocol.DeviceEvent) trackersim.Action {
			return trackersim.Action{Outcome: protocol.AckUnsupported}
		}
	})
	c.API.Send(failingTracker, "Too much for it")
	p.until(bubble("Too much for it") + `?.dataset.state === 'FAILED'`)
	p.until(bubble("Too much for it") +
		`.textContent.includes('failed: not supported by the device')`)
	c.comesWhileLoading(t)
}

// comesWhileLoading: what the feed tells while the conversation is read stays, although the answer
// is from before it.
func (c *consoleRig) comesWhileLoading(t *testing.T) {
	t.Helper()
	p := c.console(t)
	p.until(shows(".row .label", "Truck 12"))
	p.do(chromedp.Evaluate[chromedp.Void](`{
		const fetch = window.fetch;
		window.fetch = async (url, init) => {
			const answer = await fetch(url, init);
			if (String(url).endsWith('tracker/chat/list'))
				await new Promise((resolve) => { window.release = resolve; });
			return answer;
		};
	}`))
	row := fmt.Sprintf("#tracker-%d", failingTracker)
	p.click(row)
	p.until(`window.release !== undefined`)
	c.API.Send(failingTracker, "While it loads")
	p.until(`document.querySelector('` + row + `').textContent.includes('2 texts not delivered')`)
	p.do(chromedp.Evaluate[chromedp.Void](`window.release()`))
	p.until(bubble("While it loads") + `?.dataset.state === 'FAILED'`)
}

// state is the delivery state of a tracker's newest message.
func (c *consoleRig) state(tracker int) string {
	a := c.API.Call("list", "tracker_id", strconv.Itoa(tracker))
	if len(a.List) == 0 {
		return ""
	}
	read := c.API.Call("read", "message_id", strconv.FormatInt(a.List[len(a.List)-1].ID, 10))
	delivery, _ := read.Value["delivery"].(map[string]any)
	state, _ := delivery["state"].(string)
	return state
}

func (c *consoleRig) testPhone(t *testing.T) {
	p := c.signedIn(t, c.url(), apptest.Key, 390, 760)
	wide := func(what string) {
		t.Helper()
		if eval[bool](p, `document.documentElement.scrollWidth > innerWidth || document.querySelector('.shell').scrollWidth > innerWidth`) {
			t.Errorf("%s is wider than the screen", what)
		}
	}
	wide("the list")
	p.do(chromedp.ScrollIntoView(fmt.Sprintf("#tracker-%d", phoneTracker)))
	p.choose(phoneTracker)
	if eval[bool](p, `document.querySelector('.side').checkVisibility()`) {
		t.Error("the list is seen beside the conversation")
	}
	long := strings.Repeat("wide", 100)
	c.API.Send(phoneTracker, long)
	p.until(bubble(long) + ` !== undefined`)
	wide("the conversation")
	if !eval[bool](p, `document.querySelector('.send').getBoundingClientRect().bottom <= innerHeight`) {
		t.Error("the field for a text is not on the screen")
	}
	p.do(chromedp.EmulateViewport(390, 380)) // a keyboard comes up
	p.until(`innerHeight === 380 && (log => log.scrollHeight > log.clientHeight && log.scrollHeight - log.scrollTop - log.clientHeight < 2)(document.querySelector('.log'))`)
	p.click(".back")
	p.until(`document.querySelector('.side').checkVisibility() && !document.querySelector('.main').checkVisibility()`)
}

func (c *consoleRig) testBigFleet(t *testing.T) {
	begin := time.Now()
	p := c.signedIn(t, c.url(), bigKey, 1280, 800)
	p.until(shows(".row .label", "Lorry 0"))
	t.Logf("%d trackers are listed after %v", bigFleet, time.Since(begin))
	if n := eval[int](p, `document.querySelectorAll('.row').length`); n > 60 {
		t.Errorf("%d rows exist", n)
	}
	p.do(chromedp.Evaluate[chromedp.Void](`document.querySelector('.trackers').scrollTop = 1e9`))
	p.until(shows(".row .label", "Lorry 9999"))
	p.write(".side input[type=search]", "lorry 4711")
	p.until(`[...document.querySelectorAll('.row .label')].map(e => e.textContent).join() === 'Lorry 4711'`)
	p.do(chromedp.SendKeys(".side input[type=search]", kb.Escape))
	p.until(shows(".row .label", "Lorry 0"))
	p.click(`[aria-label="Write to several trackers"]`)
	p.click(".selectbar .link")
	p.until(shows(".selectbar", "300 selected") + ` && ` + shows(".toast", "At most 300"))
}

func (c *consoleRig) testLanguages(t *testing.T) {
	p := c.console(t)
	for language, words := range map[string]string{
		"de": "Ungelesen", "en": "Unread", "es": "Sin leer", "ru": "Непрочитанные", "zh": "未读",
	} {
		p.click(`.side .popup .iconbutton`)
		p.do(chromedp.Evaluate[chromedp.Void](
			`{const s = document.querySelector('select[name=language]'); s.value = '` + language +
				`'; s.dispatchEvent(new Event('change'));}`))
		p.until(shows(".filter", words) + ` && document.documentElement.lang === '` + language +
			`'`)
		p.until(shows(".row .label", "Truck 1"))
		p.visit(otherTracker)
		p.click(`.side .popup .iconbutton`)
		p.legible()
		p.shot("15-" + language)
		p.click(`.side .popup .iconbutton`)
	}
}

func (c *consoleRig) testKeyboard(t *testing.T) {
	p := c.console(t)
	p.until(shows(".row .label", "Truck 12"))
	p.press("/", 191)
	p.until(`document.activeElement.type === 'search'`)
	p.do(chromedp.KeyEvent("truck 12"))
	p.until(`document.querySelectorAll('.row').length === 1`)
	p.enter()
	p.until(`location.hash === '#/t/12' && document.activeElement.tagName === 'TEXTAREA'`)
	p.do(chromedp.KeyEvent(kb.Escape))
	p.until(`document.activeElement.getAttribute('role') === 'listbox'`)
	p.press("?", 191)
	p.until(`document.querySelector('dialog')?.open === true`)
	p.do(chromedp.KeyEvent(kb.Escape))
	p.until(`document.querySelector('dialog') === null`)
}

// testAccessibility: everything that can be used has a name, and text stands out from what is
// behind it, in either appearance.
func (c *consoleRig) testAccessibility(t *testing.T) {
	p := c.console(t)
	p.choose(otherTracker)
	p.click(`.composer .popup .iconbutton`)
	roles := map[string]bool{
		"button": true, "textbox": true, "searchbox": true, "listbox": true,
		"option": true, "combobox": true, "checkbox": true, "link": true, "dialog": true,
	}
	named := 0
	for _, node := range devtools(p, accessibility.GetFullAXTree,
		accessibility.GetFullAXTreeParams{}).Nodes {
		if node.Ignored || node.Role == nil || !roles[strings.Trim(string(node.Role.Value), `"`)] {
			continue
		}
		if node.Name == nil || strings.Trim(string(node.Name.Value), `"`) == "" {
			t.Errorf("a %s has no name", node.Role.Value)
		}
		named++
	}
	if named < 20 {
		t.Errorf("only %d controls were found", named)
	}
	p.legible()
}

// legible: text stands out from what is behind it, in either appearance.
func (p *page) legible() {
	p.t.Helper()
	for _, scheme := range []string{"light", "dark"} {
		devtools(p, emulation.SetEmulatedMedia,
			emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{
				{Name: "prefers-color-scheme", Value: scheme},
			}})
		for _, weak := range eval[[]string](p, contrastScript) {
			p.t.Errorf("%s: %s", scheme, weak)
		}
	}
	devtools(p, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{})
}

// contrastScript finds visible texts whose contrast (WCAG 2.2, 1.4.3) is below 4.5; what is
// disabled is exempt.
const contrastScript = `(() => {
  const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
  const rgba = (color) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = color;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const luminance = ([r, g, b]) => {
    const f = (v) => { v /= 255; return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; };
    return 0.2126 * f(r) + 0.7152 * f(g) + 0.0722 * f(b);
  };
  const behind = (el) => {
    for (; el; el = el.parentElement) {
      const color = rgba(getComputedStyle(el).backgroundColor);
      if (color[3] === 255) return color;
    }
    return [255, 255, 255, 255];
  };
  const weak = [];
  let seen = 0;
  for (const el of document.querySelectorAll('body *')) {
    const nodes = [...el.childNodes].filter((n) => n.nodeType === 3);
    const text = nodes.map((n) => n.data.trim()).join('');
    if (!text || !el.checkVisibility({ opacityProperty: true })) continue;
    if (el.closest(':disabled, [aria-disabled=true]')) continue;
    seen++;
    const pair = [luminance(rgba(getComputedStyle(el).color)), luminance(behind(el))];
    const [a, b] = pair.sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < 4.5) weak.push(el.className + ' "' + text.slice(0, 30) + '": ' + ratio.toFixed(2));
  }
  if (seen < 20) weak.push('only ' + seen + ' texts were found');
  return weak;
})()`

// TestConsoleTellsTries: the console tells how often a text was handed over to a device that does
// not answer, wherever that is by then.
func TestConsoleTellsTries(t *testing.T) {
	t.Parallel()
	cfg := apptest.Config(t, 2)
	wait := config.Duration(200 * time.Millisecond)
	cfg.Gateway.AckTimeout, cfg.Gateway.RetryIdle = []config.Duration{wait, wait, wait},
		config.Duration(time.Hour)
	c := &consoleRig{service: startService(t, cfg), browser: startBrowser(t)}
	const text = "Do you hear me?"
	p, q := c.console(t), c.console(t)
	p.visit(1)
	q.visit(2)
	c.API.Send(1, text)
	p.until(bubble(text) + `?.textContent.includes('waiting for the device') === true`)
	d := c.play(t, 1, func(o *trackersim.Options) {
		o.Reconnect = false
		o.OnText = func(protocol.DeviceEvent) trackersim.Action {
			return trackersim.Action{
				Never: true,
			}
		}
	})
	p.until(bubble(text) +
		`?.textContent.includes('handed over 3 times, no answer since ') === true`)
	p.until(bubble(text) + `?.classList.contains('unanswered') === true`)
	p.legible()
	p.shot("12-handed-over")
	for _, x := range []*page{p, q} {
		x.until(marked(1) + ` === '1' && ` + shows(".filter", "Problems (1)"))
	}
	d.Disconnect()
	p.until(`document.querySelector('#tracker-1 .dot')?.dataset.presence === 'offline'`)
	p.do(chromedp.Reload())
	p.until(bubble(text) +
		`?.textContent.includes('handed over 3 times, no answer since ') === true`)
	p.until(marked(1) + ` === '1'`)
	p.act(text, "Cancel")
	for _, x := range []*page{p, q} {
		x.until(marked(1) + ` === ''`)
	}
}
