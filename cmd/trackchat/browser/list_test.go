package browser

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"trackchat/cmd/trackchat/apptest"
	"trackchat/cmd/trackchat/config"

	cdpbrowser "github.com/chromedp/cdproto/browser"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
)

// Trackers of the tests of the list, each with a driver of its own.
const (
	firstTracker = 1 + iota
	secondTracker
	thirdTracker
	fourthTracker
	listTrackers = fourthTracker
)

// listConfig is a service whose trackers have drivers with names.
func listConfig(t *testing.T) *config.Config {
	t.Helper()
	cfg := apptest.Config(t, listTrackers)
	directory := apptest.DirectoryYAML(listTrackers)
	for i, name := range []string{"Ada", "Ben", "Cleo", "Dora"} {
		directory = strings.Replace(directory,
			fmt.Sprintf("employee_id: 7, employee: {last_name: Driver %d}", i+1),
			fmt.Sprintf("employee_id: %d, employee: {first_name: %s, last_name: Lee}", i+1, name),
			1)
	}
	apptest.Must(t, os.WriteFile(filepath.Clean(cfg.Directory.File), []byte(directory), 0o600))
	return cfg
}

// TestConsoleList holds the list of trackers, and what tells of a text while nobody looks, to what
// has happened.
func TestConsoleList(t *testing.T) {
	t.Parallel()
	c := &consoleRig{service: startService(t, listConfig(t)), browser: startBrowser(t)}
	t.Run("last messages", c.testLastMessages)
	t.Run("alerts", c.testAlerts)
	t.Run("alerts refused", c.testAlertsRefused)
	t.Run("alerts without a feed", c.testAlertsPolled)
	t.Run("dates", c.testDates)
}

// row is an expression: a part of a tracker's row.
func row(id int, part string) string {
	return fmt.Sprintf(`document.querySelector('#tracker-%d %s')`, id, part)
}

// order is an expression: the trackers as they are listed.
const order = `[...document.querySelectorAll('.row')].sort((a, b) => ` +
	`a.getBoundingClientRect().top - b.getBoundingClientRect().top).map((e) => e.dataset.id).join()`

func (c *consoleRig) testLastMessages(t *testing.T) {
	c.API.Send(secondTracker, "Turn left\nafter the bridge")
	p := c.console(t)
	last := func(id int, text, icon string) {
		t.Helper()
		p.until(fmt.Sprintf(`%s?.textContent === %q && %s !== null`, row(id, ".last"), text,
			row(id, ".last .icon-"+icon)))
	}
	// before anything has happened that the feed tells of
	last(secondTracker, "Turn left\nafter the bridge", "tick")
	p.until(row(firstTracker, ".last") + `.hidden && ` + row(secondTracker, ".about bdi") +
		`.textContent === 'Ben Lee'`)
	p.until(order + ` === '2,1,3,4'`)
	p.run(`window.listed = performance.getEntriesByType('resource').filter((e) => e.name.endsWith('last/list')).length`)

	d := c.play(t, thirdTracker, nil)
	apptest.Must(t, d.Say(t.Context(), "At the gate"))
	last(thirdTracker, "At the gate", "incoming")
	p.until(order + ` === '3,2,1,4'`)
	c.play(t, secondTracker, nil)
	last(secondTracker, "Turn left\nafter the bridge", "ticks")
	p.until(row(secondTracker, ".last") + `.dataset.state === 'DELIVERED'`)
	p.until(order + ` === '3,2,1,4'`) // an ack is no new message
	p.visit(fourthTracker)
	p.write(".composer textarea", "Good morning")
	p.enter()
	last(fourthTracker, "Good morning", "tick")
	p.until(order + ` === '4,3,2,1'`)
	p.until(row(fourthTracker, ".unseen") + `.textContent.includes('waiting for the device')`)
	p.run(bubble("Good morning") + `.querySelector('.actions button').click()`)
	last(fourthTracker, "Good morning", "cancel")
	if n := eval[int](p, `performance.getEntriesByType('resource').filter((e) => e.name.endsWith('last/list')).length - listed`); n != 0 {
		t.Errorf("the list was asked for %d times more", n)
	}
	p.shot("13-last-messages")
	p.legible()
	p.noneSerious("last messages")

	p.write(".side input[type=search]", "cleo l")
	p.until(order + ` === '3'`)
	p.visit(thirdTracker)
	p.until(shows(".conversation .who", "Cleo Lee"))
	p.do(chromedp.Reload())
	p.until(order + ` === '4,3,2,1'`)
	last(fourthTracker, "Good morning", "cancel")
}

// watched has a page keep what it tells the desktop and play, beside doing so.
const watched = `
window.told = [];
window.played = 0;
window.asked = 0;
window.heard = 0;
window.Notification = class extends Notification {
  constructor(title, options) {
    super(title, options);
    told.push({ title, ...options, shown: this });
  }
  static requestPermission() {
    asked++;
    return super.requestPermission();
  }
};
const start = OscillatorNode.prototype.start;
OscillatorNode.prototype.start = function (...args) {
  played++;
  return start.apply(this, args);
};
`

// permit decides about notifications in the browser's stead.
func (p *page) permit(setting cdpbrowser.PermissionSetting) {
	p.t.Helper()
	devtools(p, cdpbrowser.SetPermission, cdpbrowser.SetPermissionParams{
		Permission: &cdpbrowser.PermissionDescriptor{Name: "notifications"}, Setting: setting,
		Origin:           eval[string](p, `location.origin`),
		BrowserContextID: chromedp.FromContext(p.ctx).BrowserContextID,
	})
}

// toggle clicks a checkbox of the menu.
func (p *page) toggle(name string) {
	p.t.Helper()
	p.click(`.side .popup .iconbutton`)
	p.click(fmt.Sprintf(`input[name="%s"]`, name))
	p.click(`.side .popup .iconbutton`)
}

func (c *consoleRig) testAlerts(t *testing.T) {
	if a := c.API.Call("mark_read_all"); !a.Success {
		t.Fatalf("%+v", a)
	}
	p := c.console(t)
	p.permit(cdpbrowser.PermissionSettingGranted)
	p.run(watched)
	d := c.play(t, firstTracker, nil)
	unread := func(n int) {
		t.Helper()
		p.until(fmt.Sprintf(`document.title === '(%d) trackchat'`, n))
	}
	say := func(text string, n int) {
		t.Helper()
		apptest.Must(t, d.Say(t.Context(), text))
		unread(n)
	}
	say("unheard", 1)
	p.toggle("alerts.desktop")
	p.until(`localStorage.getItem('trackchat.alert.desktop') === 'on'`)
	say("first", 2)
	p.until(`told.length === 1`)
	if got := eval[string](p, `[told[0].title, told[0].body].join()`); got !=
		"Truck 1 · Ada Lee,first" {
		t.Errorf("told %s", got)
	}
	if n := eval[int](p, `played`); n != 0 {
		t.Errorf("%d notes without being asked to", n)
	}
	p.toggle("alerts.sound")
	p.until(`played === 2`) // to hear what it is like
	p.run(`played = 0; heard = performance.now()`)
	p.toggle("alerts.desktop")
	p.until(`localStorage.getItem('trackchat.alert.desktop') === null`)
	p.until(`performance.now() - heard > 1000`) // it is heard once a second at most
	say("second", 3)
	p.until(`played === 2`)
	p.toggle("alerts.desktop")
	say("third", 4)
	p.until(`told.length === 2 && told[1].body === 'third' && told[0].tag === told[1].tag`)
	p.run(`told[1].shown.onclick()`)
	p.until(`location.hash === '#/t/1' && document.title === 'trackchat'`)

	// What is before somebody's eyes is told neither way; it is again once they look away.
	p.run(`told = []; played = 0`)
	apptest.Must(t, d.Say(t.Context(), "seen"))
	p.until(bubble("seen") + ` !== undefined`)
	p.run(`document.hasFocus = () => false`)
	apptest.Must(t, d.Say(t.Context(), "unseen"))
	p.until(`told.length === 1`)
	if got := eval[string](p, `told[0].body`); got != "unseen" {
		t.Errorf("told %s", got)
	}
	if n := eval[int](p, `asked`); n != 0 {
		t.Errorf("asked %d times for what was granted", n)
	}
	p.click(`.side .popup .iconbutton`)
	p.noneSerious("alerts")
	p.shot("14-alerts")
}

// testAlertsRefused: the browser is asked when somebody turns notifications on, and its refusal is
// said.
func (c *consoleRig) testAlertsRefused(t *testing.T) {
	p := c.console(t)
	p.permit(cdpbrowser.PermissionSettingDenied)
	p.run(watched)
	p.click(`.side .popup .iconbutton`)
	p.click(`input[name="alerts.desktop"]`)
	p.until(shows(".toast", "does not allow this page to notify you"))
	p.until(`asked === 1 && !document.querySelector('input[name="alerts.desktop"]').checked`)
	if eval[bool](p, `localStorage.getItem('trackchat.alert.desktop') !== null`) {
		t.Error("what was refused is on")
	}
}

// testAlertsPolled: texts are told of also while there is no feed.
func (c *consoleRig) testAlertsPolled(t *testing.T) {
	p := c.console(t)
	p.permit(cdpbrowser.PermissionSettingGranted)
	p.run(watched)
	p.toggle("alerts.desktop")
	p.block("*://*:*/v2/tracker/chat/events")
	p.do(chromedp.Navigate(c.url() + "?polled#key=" + apptest.Key))
	p.until(`['polling', 'down'].includes(document.querySelector('.connection')?.dataset.state)`)
	p.until(row(fourthTracker, ".last .icon") + ` !== null`)
	p.run(watched)
	d := c.play(t, fourthTracker, nil)
	apptest.Must(t, d.Say(t.Context(), "no feed"))
	p.until(`told.length === 1`)
	if got := eval[string](p, `[told[0].title, told[0].body].join()`); got !=
		"Truck 4 · Dora Lee,1 new message" {
		t.Errorf("told %s", got)
	}
}

// testDates: the browser chooses the language, and days are written as its country writes them.
func (c *consoleRig) testDates(t *testing.T) {
	for locale, want := range map[string]string{
		"en-US": "Feb 29, 2016", "en": "29 Feb 2016", "de-AT": "29.02.2016", "ru-RU": "29 февр. 2016",
		"zh-CN": "2016年2月29日", "es-ES": "29 feb 2016", "fr-FR": "29 Feb 2016",
	} {
		p := c.browser.open(t, c.url(), 1280, 800)
		devtools(p, emulation.SetUserAgentOverride, emulation.SetUserAgentOverrideParams{
			UserAgent: eval[string](p, `navigator.userAgent`), AcceptLanguage: locale,
		})
		p.do(chromedp.Navigate(c.url() + "?" + locale + "#key=" + apptest.Key))
		p.until(`document.querySelector('.row') !== null`)
		p.run(`import('/console/js/time.js').then((m) => { window.day = m.exact(Date.UTC(2016, 1, 29)); })`)
		p.until(`window.day !== undefined`)
		if got := eval[string](p, `day`); !strings.HasPrefix(got, want) {
			t.Errorf("%s: %s, want %s", locale, got, want)
		}
		language, _, _ := strings.Cut(strings.Replace(locale, "fr-FR", "en", 1), "-")
		if got := eval[string](p, `document.documentElement.lang`); got != language {
			t.Errorf("%s: the page is in %s", locale, got)
		}
	}
}
