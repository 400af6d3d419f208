package browser

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"trackchat/cmd/trackchat/apptest"
	"trackchat/queue"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
)

// testSearchAtOnce presses Enter in the same turn in which the words were written, as a scanner's
// keyboard does.
func (c *consoleRig) testSearchAtOnce(t *testing.T) {
	p := c.console(t)
	p.until(shows(".row .label", "Truck 12"))
	p.do(chromedp.Evaluate[chromedp.Void](`{
		const s = document.querySelector('input[type=search]');
		s.focus();
		s.value = 'truck 11';
		s.dispatchEvent(new Event('input', { bubbles: true }));
		s.dispatchEvent(new KeyboardEvent('keydown',
			{ key: 'Enter', bubbles: true, cancelable: true }));
	}`))
	p.until(`location.hash !== ''`)
	if hash := eval[string](p, `location.hash`); hash != "#/t/11" {
		t.Errorf("Enter opened %s", hash)
	}
}

// testSlowLine loads ten thousand trackers over 400 kbit/s, and a list that cannot be had at all.
func (c *consoleRig) testSlowLine(t *testing.T) {
	p := c.browser.open(t, c.url(), 1280, 800)
	devtools(p, network.Enable, network.EnableParams{})
	devtools(p, network.SetCacheDisabled, network.SetCacheDisabledParams{CacheDisabled: true})
	// Chromium up to 148 wants offline beside the conditions, later ones in them.
	type conditions struct {
		network.EmulateNetworkConditionsByRuleParams

		Offline bool `json:"offline"`
	}
	slow := conditions{}
	slow.MatchedNetworkConditions = []*network.Conditions{{
		Latency: 100, DownloadThroughput: 50_000, UploadThroughput: 50_000,
	}}
	devtools(p, cdp.Command[conditions, network.EmulateNetworkConditionsByRuleResult]{
		Method: network.EmulateNetworkConditionsByRule.Method,
	}, slow)
	p.do(chromedp.Navigate(c.url() + "?slow#key=" + bigKey))
	begin := time.Now()
	p.until(shows(".row .label", "Lorry 0"))
	t.Logf("%d trackers over 400 kbit/s are listed after %v", bigFleet, time.Since(begin))

	p = c.browser.open(t, c.url(), 1280, 800)
	p.block("*://*:*/v2/tracker/list")
	p.do(chromedp.Navigate(c.url() + "?blocked#key=" + bigKey))
	p.until(`performance.getEntriesByType('resource').filter((e) => e.name.endsWith('/v2/tracker/list')).length > 1`)
	if eval[bool](p, shows("body", "This account has no trackers")) {
		t.Error("a list that could not be loaded is shown as an empty account")
	}
}

// block keeps a page from what a pattern names.
func (p *page) block(pattern string) {
	p.t.Helper()
	devtools(p, network.Enable, network.EnableParams{})
	devtools(p, network.SetBlockedURLs, network.SetBlockedURLsParams{
		URLPatterns: []*network.BlockPattern{{URLPattern: pattern, Block: true}},
	})
}

// testArchive reads a conversation of twenty thousand messages, many in each second, up to its
// beginning.
func (c *consoleRig) testArchive(t *testing.T) {
	const batch = 1000
	for i := 0; i < archived; i += batch {
		reqs := make([]queue.SendReq, batch)
		for k := range reqs {
			reqs[k] = queue.SendReq{Tracker: archiveTracker, Text: fmt.Sprint("archive ", i+k)}
		}
		rs, err := c.store.Send(t.Context(), reqs)
		apptest.Must(t, err)
		for _, r := range rs {
			apptest.Must(t, r.Err)
		}
	}
	p := c.console(t)
	p.choose(archiveTracker)
	p.until(bubble(fmt.Sprint("archive ", archived-1)) + ` !== undefined`)
	// Up, a window at a time: what is drawn is always one unbroken run, and never much.
	p.do(chromedp.Evaluate[chromedp.Void](`window.climb = { most: 0, frames: 0, broken: '', done: false, longest: 0 };
	(() => {
		const log = document.querySelector('.log');
		let before = performance.now();
		const step = () => {
			const now = performance.now();
			climb.longest = Math.max(climb.longest, now - before);
			before = now;
			climb.frames++;
			const texts = [...log.querySelectorAll('.bubble .text')];
			const shown = texts.map((e) => Number(e.textContent.slice(8)));
			climb.most = Math.max(climb.most, shown.length);
			shown.forEach((n, i) => {
				if (i > 0 && n !== shown[i - 1] + 1) climb.broken ||= shown.join(' ');
			});
			if (shown[0] === 0 && log.scrollTop === 0) { climb.done = true; return; }
			log.scrollTop -= 3 * log.clientHeight; // further than is drawn ahead
			requestAnimationFrame(step);
		};
		step();
	})()`))
	begin := time.Now()
	for every := time.NewTicker(200 * time.Millisecond); !eval[bool](p, `climb.done`); <-every.C {
		if time.Since(begin) > 8*apptest.Patience {
			t.Fatalf("the beginning of %d messages is not reached: %s", archived, p.text())
		}
	}
	t.Logf("%d messages climbed in %v, %v frames, the longest %.0f ms", archived, time.Since(begin),
		eval[int](p, `climb.frames`), eval[float64](p, `climb.longest`))
	if broken := eval[string](p, `climb.broken`); broken != "" {
		t.Errorf("not one run of messages: %s", broken)
	}
	if most := eval[int](p, `climb.most`); most > 200 {
		t.Errorf("%d messages were drawn at a time", most)
	}
	// And still quick to write to.
	p.write(".composer textarea", "down here")
	p.do(chromedp.Evaluate[chromedp.Void](`window.sent = null;
	(() => {
		const begin = performance.now();
		document.querySelector('.composer').requestSubmit();
		const look = () => {
			const texts = [...document.querySelectorAll('.bubble .text')];
			if (texts.some((e) => e.textContent === 'down here')) sent = performance.now() - begin;
			else requestAnimationFrame(look);
		};
		look();
	})()`))
	p.until(`sent !== null`)
	t.Logf("a text is shown %.0f ms after it was sent", eval[float64](p, `sent`))
}

// testZone shows the account's zone where the browser's clock says otherwise, and only there.
func (c *consoleRig) testZone(t *testing.T) {
	for zone, want := range map[string]string{
		"America/New_York": "Europe/Berlin",
		"Europe/Vienna":    "",
	} {
		p := c.browser.open(t, c.url(), 1280, 800)
		devtools(p, emulation.SetTimezoneOverride,
			emulation.SetTimezoneOverrideParams{TimezoneID: zone})
		p.do(chromedp.Navigate(c.url() + "?zone#key=" + apptest.Key))
		p.until(`document.querySelector('.row') !== null`)
		if got := eval[string](p,
			`document.querySelector('.side .bar .zone')?.textContent ?? ''`); got != want {
			t.Errorf("in %s the header shows %q, want %q", zone, got, want)
		}
	}
}

// testLinks opens what a text names, without telling where from.
func (c *consoleRig) testLinks(t *testing.T) {
	text := "Map: https://maps.example/a_(b)?x=1. Call +49 30 123456-7 or 030 9876543, not order 4711 815 of 01/12/2026; javascript:alert(1) http://"
	c.API.Send(otherTracker, text)
	p := c.console(t)
	p.choose(otherTracker)
	p.until(bubble(text) + ` !== undefined`)
	got := eval[[]string](p,
		`[...`+bubble(text)+`.querySelectorAll('a')].map((a) => a.getAttribute('href') + ' ' + a.rel)`)
	want := []string{
		"https://maps.example/a_(b)?x=1 noopener noreferrer",
		"tel:+49301234567 noopener noreferrer", "tel:0309876543 noopener noreferrer",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("links are %q, want %q", got, want)
	}
}

// axeFinding is a rule that a page breaks.
type axeFinding struct {
	ID, Impact, Help string
	Nodes            []struct{ HTML string }
}

// axe returns what axe-core finds on a page: the rules that it breaks, whatever their impact.
func (p *page) axe() []axeFinding {
	p.t.Helper()
	file := os.Getenv("AXE_SCRIPT")
	if file == "" {
		if os.Getenv("CI") != "" {
			p.t.Fatal("AXE_SCRIPT does not name axe-core's script; test.sh gets it")
		}
		p.t.Skip("AXE_SCRIPT does not name axe-core's script; test.sh gets it")
	}
	script, err := os.ReadFile(file)
	apptest.Must(p.t, err)
	p.do(chromedp.Evaluate[chromedp.Void](string(script) +
		"\n;window.axeFound = null; axe.run(document).then((r) => { axeFound = JSON.stringify(r.violations); }, (e) => { axeFound = String(e); });"))
	p.until(`axeFound !== null`)
	var found []axeFinding
	apptest.Must(p.t, json.Unmarshal([]byte(eval[string](p, `axeFound`)), &found))
	return found
}

// noneSerious fails for what axe finds serious, and for a view without a heading or a main part.
func (p *page) noneSerious(view string) {
	p.t.Helper()
	for _, f := range p.axe() {
		if f.Impact == "serious" || f.Impact == "critical" || f.ID == "page-has-heading-one" ||
			f.ID == "landmark-one-main" {
			p.t.Errorf("%s: %s (%s): %s, such as %s", view, f.ID, f.Impact, f.Help, f.Nodes[0].HTML)
		} else {
			p.t.Logf("%s: %s (%s): %s", view, f.ID, f.Impact, f.Help)
		}
	}
}

// testAxe runs axe-core on every view of the console and on the operations page.
func (c *consoleRig) testAxe(t *testing.T) {
	c.API.Send(otherTracker, "See https://maps.example/ or call +49 30 1234567")
	for _, width := range []int64{1280, 390} {
		p := c.browser.open(t, c.url(), width, 800)
		p.until(`document.querySelector('.login') !== null`)
		p.noneSerious(fmt.Sprint("login ", width))
		p = c.signedIn(t, c.url(), apptest.Key, width, 800)
		p.noneSerious(fmt.Sprint("list ", width))
		p.choose(otherTracker)
		p.noneSerious(fmt.Sprint("conversation ", width))
		p.click(`.composer .popup .iconbutton`)
		p.noneSerious(fmt.Sprint("canned texts ", width))
	}
	p := c.console(t)
	p.click(`[aria-label="Write to several trackers"]`)
	p.click(".selectbar .link")
	p.click(".selectbar .primary")
	p.until(`document.querySelector('.broadcast') !== null`)
	p.noneSerious("broadcast")
	p.press("Escape", 27)
	p.press("?", 191)
	p.until(`document.querySelector('dialog')?.open === true`)
	p.noneSerious("keys")
	p = c.console(t)
	p.click(`.side .popup .iconbutton`)
	p.noneSerious("menu")
	p = c.browser.open(t, "http://"+c.Addrs["admin"]+"/", 1280, 800)
	p.until(shows(`[aria-label="Audit"] td`, "directory/import"))
	p.noneSerious("operations")
}
