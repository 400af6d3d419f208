package browser

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"trackchat/cmd/trackchat/app"
	"trackchat/cmd/trackchat/apptest"
	"trackchat/cmd/trackchat/config"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"go.uber.org/zap/zaptest"
)

// service is a service in this process.
type service = apptest.Service[*app.App]

func startService(t *testing.T, cfg *config.Config, change ...func(*app.App)) *service {
	t.Helper()
	app, err := app.New(cfg, zaptest.NewLogger(t))
	apptest.Must(t, err)
	for _, c := range change {
		c(app)
	}
	return apptest.Start(t, app)
}

// browser is one Chromium for all tests of pages; each page has storage of its own.
type browser struct {
	t   *testing.T
	ctx context.Context //nolint:containedctx // chromedp keeps its tab in the context
}

// startBrowser starts Chromium and closes it when the test ends.
func startBrowser(t *testing.T) *browser {
	t.Helper()
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.WindowSize(1280, 800),
		chromedp.Flag("lang", "en"), chromedp.UserDataDir(t.TempDir()),
		// The browser's own pages (search of tabs and the like) are not loaded ahead with each
		// window: they would take more of the processor than the console.
		chromedp.Flag("disable-features", "Translate,PreloadTopChromeWebUI"), chromedp.DisableGPU)
	if os.Getuid() == 0 {
		options = append(options, chromedp.NoSandbox) // Chromium refuses root otherwise
	}
	ctx, cancel := chromedp.NewContext(context.Background(),
		chromedp.WithAllocatorOptions(options...))
	t.Cleanup(func() { _ = chromedp.Cancel(ctx); cancel() })
	apptest.Must(t, chromedp.Do(ctx))
	return &browser{t, ctx}
}

// page is one tab. A script that fails, or that the page's policy refuses, fails the test.
type page struct {
	t   *testing.T
	ctx context.Context //nolint:containedctx // chromedp keeps its tab in the context
}

// open shows an address in a new tab of width and height pixels.
func (b *browser) open(t *testing.T, url string, width, height int64) *page {
	t.Helper()
	watch := func(ev any) {
		switch e := ev.(type) {
		case *runtime.EventExceptionThrown:
			t.Errorf("exception in the page: %s %s", e.ExceptionDetails.Text,
				e.ExceptionDetails.Exception.Description)
		case *log.EventEntryAdded:
			if e.Entry.Source == log.EntrySourceSecurity ||
				e.Entry.Source == log.EntrySourceViolation {
				t.Errorf("the browser says: %s", e.Entry.Text)
			}
		}
	}
	ctx, cancel := chromedp.NewContext(b.ctx, chromedp.WithNewBrowserContext(),
		chromedp.WithListener(watch))
	t.Cleanup(cancel)
	apptest.Must(t, chromedp.Do(ctx)) // the tab lives as long as the context of its first call
	p := &page{t, ctx}
	p.do(chromedp.EmulateViewport(width, height))
	// The page behaves as if its window had the focus, which only one tab of a browser can have.
	devtools(p, emulation.SetFocusEmulationEnabled, emulation.SetFocusEmulationEnabledParams{
		Enabled: true,
	})
	p.do(chromedp.Navigate(url))
	return p
}

// devtools runs a command of the browser's protocol on the page.
func devtools[P, R any](p *page, c cdp.Command[P, R], params P) R {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, apptest.Patience)
	defer cancel()
	r, err := chromedp.Call(ctx, c, params)
	apptest.Must(p.t, err)
	return r
}

func (p *page) do(actions ...chromedp.Action[chromedp.Void]) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, apptest.Patience)
	defer cancel()
	if err := chromedp.Do(ctx, actions...); err != nil {
		p.t.Fatal(err, "\n", p.text())
	}
}

// text is what the page shows, for the reader of a failure.
func (p *page) text() string {
	const most = 2000
	s, _ := chromedp.Run(p.ctx, chromedp.Evaluate[string](`document.body.innerText`))
	return s[:min(len(s), most)]
}

// eval returns what an expression comes to.
func eval[T any](p *page, expression string) T {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, apptest.Patience)
	defer cancel()
	v, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression))
	apptest.Must(p.t, err)
	return v
}

// until waits for an expression to be true.
func (p *page) until(expression string) {
	p.t.Helper()
	every := time.NewTicker(20 * time.Millisecond)
	defer every.Stop()
	for end := time.Now().Add(apptest.Patience); !eval[bool](p, expression); <-every.C {
		if time.Now().After(end) {
			p.t.Fatalf("never true: %s\n%s", expression, p.text())
		}
	}
}

// click waits for an element and clicks it.
func (p *page) click(selector string) {
	p.t.Helper()
	p.on(selector, chromedp.Click(selector))
}

// write types into an element.
func (p *page) write(selector, text string) {
	p.t.Helper()
	p.on(selector, chromedp.SendKeys(selector, text))
}

// on does something with an element once it is there, again where the page has drawn the element
// anew just then.
func (p *page) on(selector string, action chromedp.Action[chromedp.Void]) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, apptest.Patience)
	defer cancel()
	for {
		err := chromedp.Do(ctx, chromedp.WaitVisible(selector), action)
		if err == nil {
			return
		}
		if !strings.Contains(err.Error(), "Could not find node") || ctx.Err() != nil {
			p.t.Fatal(selector, err, "\n", p.text())
		}
	}
}

// enter presses the Enter key.
func (p *page) enter() { p.press("Enter", 13) }

// press presses and releases a key without typing its character, which the browser's protocol does
// even where the page has used up the key.
func (p *page) press(key string, code int64) {
	p.t.Helper()
	for _, kind := range []input.DispatchKeyEventType{
		input.DispatchKeyEventTypeRawKeyDown,
		input.DispatchKeyEventTypeKeyUp,
	} {
		devtools(p, input.DispatchKeyEvent, input.DispatchKeyEventParams{
			Type: kind, Key: key,
			WindowsVirtualKeyCode: code, NativeVirtualKeyCode: code,
		})
	}
}

// shows reports whether an expression's element has the text, as an expression for until.
func shows(selector, text string) string {
	return fmt.Sprintf(`[...document.querySelectorAll(%q)].some(e => e.textContent.includes(%q))`,
		selector, strings.TrimSpace(text))
}
