package browser

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"trackchat/cmd/trackchat/app"
	"trackchat/cmd/trackchat/apptest"
	"trackchat/queue"

	cdpbrowser "github.com/chromedp/cdproto/browser"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
)

// TestConsoleFindsAndKeeps: a message far back is found by its words or its day and shown among its
// neighbours, and a conversation is taken along as a file and on paper.
func TestConsoleFindsAndKeeps(t *testing.T) {
	t.Parallel()
	var store queue.Store
	const tracker, messages = 1, 1500
	cfg := apptest.Config(t, 2)
	c := &consoleRig{browser: startBrowser(t)}
	c.service = startService(t, cfg, func(a *app.App) {
		a.Seed = func(_ context.Context, opened queue.Store) error {
			store = opened
			return nil
		}
	})
	in := make([]queue.Incoming, messages)
	for i := range in {
		in[i] = queue.Incoming{Tracker: tracker, Text: fmt.Sprintf("message %d", i)}
	}
	in[300].Text = "the Straße is closed"
	in[301].Text = "=1+1"
	for len(in) > 0 {
		n := min(len(in), 500)
		_, err := store.Receive(t.Context(), in[:n])
		apptest.Must(t, err)
		in = in[n:]
	}
	p := c.console(t)
	p.choose(tracker)
	p.until(bubble("message 1499") + ` !== undefined`)
	c.searchAndJump(t, p)
	c.jumpToDay(t, p)
	c.takeAlong(t, p)
}

// searchAndJump finds what is 1,200 messages back, and comes back to the newest ones both ways.
func (c *consoleRig) searchAndJump(t *testing.T, p *page) {
	t.Helper()
	p.click(`button[aria-label="Search in this conversation"]`)
	p.write(".finder [type=search]", "STRASSE")
	p.until(shows(".hits li", "the Straße is closed") + ` && ` + shows(".finder [role=status]",
		"1 message"))
	p.noneSerious("found")
	p.click(".hits .choice")
	hit := bubble("the Straße is closed")
	p.until(hit + `?.classList.contains('found') === true`)
	p.until(bubble("message 299") + ` !== undefined && ` + bubble("=1+1") + ` !== undefined`)
	p.until(`(r => r.top >= 0 && r.bottom <= innerHeight)(` + hit + `.getBoundingClientRect())`)
	if eval[bool](p, bubble("message 1499")+` !== undefined`) {
		t.Error("the newest message is drawn beside one of long ago")
	}
	p.shot("13-found")

	// Something that comes meanwhile does not move what is read.
	c.API.Send(1, "meanwhile")
	p.until(shows("#tracker-1", "Truck 1"))
	p.click(".jump")
	p.until(bubble("meanwhile") + ` !== undefined && document.querySelector('.jump').hidden`)

	// From there on downwards it joins the newest messages, each once.
	p.click(".hits .choice")
	p.until(hit + ` !== undefined`)
	p.until(`(document.querySelector('.log').scrollTop = 1e9, ` + bubble("meanwhile") +
		` !== undefined)`)
	p.until(`(document.querySelector('.log').scrollTop = 1e9, document.querySelector('.jump').hidden)`)
	if n := eval[int](p, `[...document.querySelectorAll('.bubble .text')].filter(e => e.textContent === 'meanwhile').length`); n != 1 {
		t.Errorf("the newest message is there %d times", n)
	}
	p.until(`(document.querySelector('.log').scrollTop = 0, ` + bubble("message 0") +
		` !== undefined)`)

	// Hits in numbers come in steps, newest first.
	p.do(chromedp.Evaluate[chromedp.Void](`{
		const s = document.querySelector('.finder [type=search]');
		s.value = 'MESSAGE';
		s.dispatchEvent(new Event('input', { bubbles: true }));
	}`))
	p.until(`document.querySelectorAll('.hits li').length === 50`)
	p.until(shows(".hits li:first-child", "message 1499"))
	p.click(".finder > .link")
	p.until(`document.querySelectorAll('.hits li').length === 100`)
	p.until(shows(".hits li:last-child", "message 1400"))
}

func (c *consoleRig) jumpToDay(t *testing.T, p *page) {
	t.Helper()
	day := func(value string) {
		p.do(chromedp.Evaluate[chromedp.Void](
			`document.querySelector('.finder [type=date]').value = '` + value + `'`))
		p.click(".finder .row1 .button")
	}
	p.click(".jump")
	day("2016-02-29")
	p.until(bubble("message 0") + `?.classList.contains('found') === true`)
	day("2199-12-31")
	p.until(shows(".finder [role=status]", "No messages on that day or after it"))
}

// takeAlong downloads the conversation in both forms, and prints it.
func (c *consoleRig) takeAlong(t *testing.T, p *page) {
	t.Helper()
	p.do(chromedp.Reload()) // or axe looks at more than a thousand messages
	p.until(bubble("meanwhile") + ` !== undefined`)
	p.click(`[aria-label="Export and print"]`)
	p.noneSerious("export")
	p.do(chromedp.Reload())
	p.until(bubble("meanwhile") + ` !== undefined`)
	dir := t.TempDir()
	devtools(p, cdpbrowser.SetDownloadBehavior, cdpbrowser.SetDownloadBehaviorParams{
		Behavior: "allow", DownloadPath: dir,
		BrowserContextID: chromedp.FromContext(p.ctx).BrowserContextID,
	})
	for choice, want := range map[string]string{
		"CSV": "\ufefftracker_id,", "NDJSON": `{"tracker_id":1,"message":{"id":`,
	} {
		p.click(`[aria-label="Export and print"]`)
		p.do(chromedp.Evaluate[chromedp.Void](
			`[...document.querySelectorAll('.takeaway .choice')].find(e => e.textContent.startsWith('` + choice + `')).click()`))
		var text string
		apptest.Eventually(t, choice, func() bool {
			names, _ := filepath.Glob(filepath.Join(dir, "trackchat-1-*."+strings.ToLower(choice)))
			for _, name := range names {
				b, _ := os.ReadFile(filepath.Clean(name))
				text = string(b)
			}
			return strings.Contains(text, "meanwhile")
		})
		if !strings.HasPrefix(text, want) || strings.Count(text, "message ") < 1498 ||
			choice == "CSV" && !strings.Contains(text, `,"'=1+1",`) {
			t.Errorf("%s: %d bytes, %.200s", choice, len(text), text)
		}
		p.until(`document.querySelector('.takeaway')?.checkVisibility() !== true`)
	}
	p.print()
	if n := eval[int](p, `window.printed.messages`); n != 1501 {
		t.Errorf("%d messages are printed", n)
	}
	if got := eval[string](p, `window.printed.seen`); !strings.HasPrefix(got, "Truck 1\n") ||
		!strings.Contains(got, "\nmessage 0\n") || !strings.Contains(got, "\nmeanwhile") ||
		strings.Contains(got, "Truck 2") {
		t.Errorf("printed: %.300s", got)
	}
	p.until(`document.querySelector('.printout') === null && !document.querySelector('.takeaway').checkVisibility()`)
}

// print prints by the menu and notes what is on paper. The page stays as on paper: a busy Chromium
// does not always come back from there.
func (p *page) print() {
	p.t.Helper()
	devtools(p, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Media: "print"})
	p.do(chromedp.Evaluate[chromedp.Void](`window.print = () => {
		window.printed = {
			messages: document.querySelectorAll('.printout article').length,
			seen: document.body.innerText,
		};
		window.dispatchEvent(new Event('afterprint'));
	}`))
	p.do(chromedp.Evaluate[chromedp.Void](
		`document.querySelector('[aria-label="Export and print"]').click()`))
	p.do(chromedp.Evaluate[chromedp.Void](
		`[...document.querySelectorAll('.takeaway .choice')].at(-1).click()`))
	p.until(`window.printed !== undefined`)
}
