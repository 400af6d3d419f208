package browser

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"trackchat/cmd/trackchat/apptest"
	"trackchat/cmd/trackchat/config"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// Trackers of the tests of people: the first two are in a group, the second and third have a tag,
// and the last one is blocked.
const (
	northTracker = 1 + iota
	northReefer
	reeferTracker
	plainTracker
	lockedTracker
	peopleTrackers = lockedTracker

	fleetKey = "5d0f2c4b8e1a47f39c6d7b2e0a813f64" // with a name
)

// peopleConfig is a service whose account has users, a named key, a group and tags.
func peopleConfig(t *testing.T) *config.Config {
	t.Helper()
	cfg := apptest.Config(t, peopleTrackers)
	directory := strings.Replace(apptest.DirectoryYAML(peopleTrackers), "keys: ["+apptest.Key+"]",
		"keys: ["+apptest.Key+", {key: "+fleetKey+", name: Fleet system, role: dispatcher}], users: ["+
			"{id: 1, login: ann, password: secret, name: \"Ann <b>Lee</b>\", role: manager}, "+
			"{id: 2, login: dan, password: secret, name: Dan, role: dispatcher}, "+
			"{id: 3, login: vic, password: secret, name: Vic, role: viewer}], "+
			"groups: [{id: 4, title: North}]", 1)
	for id, more := range map[int]string{
		northTracker: "group_id: 4, ", northReefer: "group_id: 4, tags: [reefer], ",
		reeferTracker: "tags: [reefer], ", lockedTracker: "blocked: true, ",
	} {
		old := fmt.Sprintf("employee_id: 7, employee: {last_name: Driver %d}", id)
		directory = strings.Replace(directory, old, more+fmt.Sprintf(
			"employee_id: %d, employee: {first_name: Eve, last_name: No %d}", id, id), 1)
	}
	apptest.Must(t, os.WriteFile(filepath.Clean(cfg.Directory.File), []byte(directory), 0o600))
	return cfg
}

// TestConsolePeople: who wrote, who may, and what the people of an account share.
func TestConsolePeople(t *testing.T) {
	t.Parallel()
	c := &consoleRig{service: startService(t, peopleConfig(t)), browser: startBrowser(t)}
	t.Run("authors", c.testAuthors)
	t.Run("a viewer", c.testViewer)
	t.Run("canned texts", c.testCannedTexts)
	t.Run("templates", c.testTemplates)
	t.Run("recipients", c.testRecipients)
	t.Run("refused broadcast", c.testRefusedBroadcast)
	t.Run("interrupted broadcast", c.testInterruptedBroadcast)
}

// as opens the console signed in as a user.
func (c *consoleRig) as(t *testing.T, login string) *page {
	t.Helper()
	p := c.browser.open(t, c.url(), 1280, 800)
	p.write(`input[name=login]`, login)
	p.write(`input[name=password]`, "secret")
	p.click(`button[type=submit]`)
	p.until(`document.querySelector('.row') !== null`)
	return p
}

// author is an expression: who wrote a text, as its bubble tells.
func author(text string) string {
	return fmt.Sprintf(`(e => e && !e.hidden ? e.textContent + ' / ' + e.title : '')(%s?.querySelector('.author'))`, bubble(text))
}

func (c *consoleRig) testAuthors(t *testing.T) {
	ann, dan := c.as(t, "ann"), c.as(t, "dan")
	ann.visit(northTracker)
	dan.visit(northTracker)
	ann.write(".composer textarea", "From Ann")
	ann.enter()
	c.API.Send(northTracker, "From nobody")
	for _, pairs := range [][]string{
		{"message", "By the key"},
		{"message", "For a user", "author", "Eve of the ERP"},
	} {
		pairs = append(pairs, "tracker_id", strconv.Itoa(northTracker), "hash", fleetKey)
		if a := c.API.Call("send", pairs...); !a.Success {
			t.Fatalf("%+v", a)
		}
	}
	for _, p := range []*page{ann, dan} { // by the feed, then by the list
		for range 2 {
			for text, want := range map[string]string{
				"From Ann":   "Ann <b>Lee</b> / Written by Ann <b>Lee</b>",
				"By the key": "Fleet system / Written by the program with the key Fleet system",
				"For a user": "Eve of the ERP / Written by the program with the key Eve of the ERP",
			} {
				p.until(author(text) + fmt.Sprintf(` === %q`, want))
			}
			p.until(bubble("From nobody") + ` !== undefined && ` + author("From nobody") + ` === ''`)
			p.do(chromedp.Reload())
			p.until(`document.querySelector('.bubble') !== null`)
		}
	}
	dan.until(author("From Ann") + ` !== ''`)
	dan.legible()
	dan.noneSerious("authors")
	dan.shot("16-authors")
}

// testViewer: who may only read is offered nothing else, and marks nothing as read.
func (c *consoleRig) testViewer(t *testing.T) {
	d := c.play(t, northTracker, nil)
	p := c.as(t, "vic")
	p.visit(northTracker)
	p.until(shows(".conversation > .notice", "This login may only read."))
	apptest.Must(t, d.Say(t.Context(), "Hello?"))
	p.until(bubble("Hello?") + `?.classList.contains('unread') === true`)
	c.API.Send(plainTracker, "Waiting")
	p.visit(plainTracker)
	p.until(bubble("Waiting") + `?.dataset.state === 'QUEUED'`)
	p.visit(northTracker)
	p.until(bubble("Hello?") + ` !== undefined`)
	p.click(`.side .popup .iconbutton`)
	p.until(shows(".side .choice", "Earlier broadcasts"))
	if offered := eval[[]string](p, `[...document.querySelectorAll('.composer, .actions button, .side [aria-pressed] .icon, .side .choice')].filter((e) => e.checkVisibility()).map((e) => e.textContent || e.className)`); strings.Join(offered, ",") != "Earlier broadcasts,Keyboard,Sign out" {
		t.Errorf("offered are %q", offered)
	}
	p.click(`.side .popup .iconbutton`)
	p.legible()
	p.noneSerious("viewer")
	p.shot("16-viewer")
	p.run(`location.hash = '#/broadcast'`)
	p.until(shows(".placeholder", "Choose a tracker"))
	if n := c.API.Call("unread/count").Value[strconv.Itoa(northTracker)]; n != 1.0 {
		t.Errorf("%v unread after a viewer has looked", n)
	}
	// A role that is taken away meanwhile is told.
	q := c.as(t, "dan")
	q.visit(plainTracker)
	c.account("user/update", "user_id", "2", "role", "viewer")
	q.write(".composer textarea", "Too bold")
	q.enter()
	q.until(bubble("Too bold") + `?.textContent.includes('not sent: this login may not do that') === true`)
	q.shot("16-denied")
	c.account("user/update", "user_id", "2", "role", "dispatcher")
}

// account calls an operation on what the account shares.
func (c *consoleRig) account(op string, pairs ...string) {
	c.T.Helper()
	api := apptest.Client{T: c.T, Base: c.url() + "v2/account/"}
	if a := api.Call(op, pairs...); !a.Success {
		c.T.Fatalf("%s: %+v", op, a)
	}
}

// offeredTexts is an expression: what the open list of templates offers.
const offeredTexts = `[...document.querySelectorAll('.composer .panel .choice:not(.edit)')].map((e) => e.textContent).join('|')`

// testCannedTexts: those of the browser work until the account has templates, and a manager makes
// them templates.
func (c *consoleRig) testCannedTexts(t *testing.T) {
	const own = `localStorage.setItem('trackchat.canned.1', JSON.stringify(['First own', 'Second own']))`
	const menu = `.composer .popup .iconbutton`
	ann, dan := c.as(t, "ann"), c.as(t, "dan")
	for _, p := range []*page{ann, dan} {
		p.visit(plainTracker)
		p.click(menu)
		p.until(`(` + offeredTexts + `).includes('Thank you, drive safely.')`)
		p.click(menu)
		p.run(own)
		p.click(menu)
		p.until(offeredTexts + ` === 'First own|Second own'`)
	}
	dan.until(`document.querySelector('.composer .choice.edit') === null`)
	dan.click(`.composer .panel .choice:nth-child(2)`)
	dan.until(`document.querySelector('.composer textarea').value === 'Second own'`)
	ann.run(`[...document.querySelectorAll('.choice.edit')].find((e) => e.textContent === 'Import 2 texts of this browser').click()`)
	ann.until(shows(".toast", "2 texts are templates of the account now."))
	ann.until(`localStorage.getItem('trackchat.canned.1') === null`)
	ann.click(menu)
	ann.click(menu)
	ann.until(offeredTexts + ` === 'First own|Second own'`)
	ann.until(`[...document.querySelectorAll('.choice.edit')].map((e) => e.textContent).join() === 'Edit templates…'`)
	// What the account has counts, whatever this browser has.
	dan.run(`localStorage.setItem('trackchat.canned.1', '["Third own"]')`)
	dan.run(`document.querySelector('.composer textarea').value = ''`)
	dan.click(menu)
	dan.until(offeredTexts + ` === 'First own|Second own'`)
}

func (c *consoleRig) testTemplates(t *testing.T) {
	const field = `document.querySelector('.composer textarea').value`
	p, q := c.as(t, "ann"), c.as(t, "dan")
	p.visit(plainTracker)
	p.click(`.composer .popup .iconbutton`)
	p.run(`[...document.querySelectorAll('.choice.edit')].find((e) => e.textContent === 'Edit templates…').click()`)
	p.until(`document.querySelectorAll('dialog .templates li').length === 2`)
	p.write(`dialog [name=name]`, "Ask")
	p.write(`dialog [name=text]`, "{employee} of {label}, is it {time}? {other}")
	p.write(`dialog [name=answers]`, "Yes\nNo")
	p.run(`document.querySelector('dialog [name=ttl]').value = '900'`)
	p.click(`dialog [type=submit]`)
	p.until(`document.querySelectorAll('dialog .templates li').length === 3`)
	p.click(`[aria-label="Delete First own"]`)
	p.until(`document.querySelectorAll('dialog .templates li').length === 2`)
	p.click(`dialog .templates li:first-child .choice`)
	p.until(`document.querySelector('dialog [name=text]').value === 'Second own'`)
	p.do(chromedp.SetValue(`dialog [name=name]`, "Second"))
	p.noneSerious("templates dialog")
	p.legible()
	p.shot("17-templates-dialog")
	p.click(`dialog [type=submit]`)
	p.until(shows("dialog .templates .name", "Second"))
	p.write(`dialog [name=name]`, " ")
	p.click(`dialog [type=submit]`)
	p.until(shows("dialog .notice", "the server does not accept this text"))

	// By the slash, words, arrows and Enter.
	q.visit(northTracker)
	q.write(".composer textarea", "/")
	q.until(`document.activeElement.type === 'search' && (` + offeredTexts + `).includes('Second')`)
	q.shot("17-templates")
	q.noneSerious("templates")
	q.do(chromedp.KeyEvent("label"))
	q.until(offeredTexts + ` === 'Ask{employee} of {label}, is it {time}? {other}'`)
	q.do(chromedp.KeyEvent(kb.Escape)) // the slash may be meant
	q.until(field + ` === '/' && document.activeElement.tagName === 'TEXTAREA'`)
	q.do(chromedp.KeyEvent(kb.Backspace), chromedp.KeyEvent("/"), chromedp.KeyEvent("nothing has this"))
	q.until(shows(".composer .panel", "No template matches."))
	q.enter()
	q.do(chromedp.KeyEvent(kb.Escape), chromedp.KeyEvent(kb.Backspace), chromedp.KeyEvent("/"))
	q.until(`document.activeElement.type === 'search'`)
	q.do(chromedp.KeyEvent(kb.ArrowDown), chromedp.KeyEvent(kb.ArrowDown))
	q.until(`document.activeElement.textContent.startsWith('Ask')`)
	q.do(chromedp.KeyEvent(kb.Enter))
	q.until(`/^Eve No 1 of Truck 1, is it \d\d:\d\d\? \{other\}$/.test(` + field + `)`)
	now := eval[string](q, `new Intl.DateTimeFormat('sv', { timeStyle: 'short', timeZone: 'Europe/Berlin' }).format()`)
	if got := eval[string](q, field); !strings.Contains(got, now[:2]+":") {
		t.Errorf("%q does not tell the account's time, %s", got, now)
	}
	q.until(shows(".composer .below", "expires after 15 minutes · 2 answers"))
	q.shot("17-filled")
	q.enter()
	q.until(`[...document.querySelectorAll('.bubble .choices')].at(-1)?.textContent === 'YesNo'`)
	// A slash that begins nothing is a slash.
	q.write(".composer textarea", "1/2 and/or")
	q.until(field + ` === '1/2 and/or' && document.querySelector('.composer .panel').hidden`)
}

func (c *consoleRig) testRecipients(t *testing.T) {
	c.play(t, reeferTracker, nil)
	c.account("template/create", "name", "For many", "text", "At {time}")
	c.account("template/create", "name", "For one", "text", "At {time}, {employee}")
	p := c.as(t, "dan")
	p.click(`[aria-label="Write to several trackers"]`)
	p.click(".selectbar .primary")
	p.until(shows("h1", "To 0 trackers") + ` && !document.querySelector('.composer').checkVisibility()`)
	p.click(`input[name="group 4"]`)
	p.until(shows("h1", "To 2 trackers"))
	p.click(`input[name="tag reefer"]`)
	p.until(shows("h1", "To 3 trackers"))
	p.click(fmt.Sprintf("#tracker-%d", plainTracker))
	p.until(shows("h1", "To 4 trackers"))
	p.do(chromedp.Reload())
	p.until(shows("h1", "To 4 trackers") + ` && document.querySelector('input[name="group 4"]')?.checked === true`)
	p.click(fmt.Sprintf(`[aria-label="Remove Truck %d"]`, plainTracker))
	p.until(shows("h1", "To 3 trackers"))
	p.write(".composer textarea", "/")
	// those that name a tracker are not for many
	p.until(`(` + offeredTexts + `).includes('For many') && !(` + offeredTexts +
		`).includes('For one')`)
	p.do(chromedp.KeyEvent(kb.Escape), chromedp.KeyEvent(kb.Backspace))
	p.click(`.composer textarea`)
	p.legible()
	p.noneSerious("recipients")
	p.shot("18-recipients")
	p.do(chromedp.KeyEvent("Fog ahead"))
	p.enter()
	p.until(shows(".summary", "Sent to 3 trackers · 1 delivered"))
	p.until(`/^#\/broadcasts\/\d+$/.test(location.hash)`)
	p.shot("18-result")
	p.click(`.broadcast .bar .button:not(.end)`)
	p.until(shows(".history .about", "Sent to 3 trackers · 1 delivered"))

	// A colleague sees it at once, in the list and live, and whose it is.
	q := c.as(t, "ann")
	q.run(`location.hash = '#/broadcasts'`)
	q.until(shows(".history .about", "· Dan · To 3 trackers"))
	q.until(shows(".history .about", "Sent to 3 trackers · 1 delivered"))
	q.run(`window.before = performance.getEntriesByType('resource').filter((e) => e.name.includes('/broadcast/')).length`)
	c.play(t, northReefer, nil)
	for _, x := range []*page{p, q} {
		x.until(shows(".history .about", "Sent to 3 trackers · 2 delivered"))
	}
	if n := eval[int](q, `performance.getEntriesByType('resource').filter((e) => e.name.includes('/broadcast/')).length - before`); n != 0 {
		t.Errorf("asked %d times for what the feed tells", n)
	}
	q.legible()
	q.noneSerious("broadcasts")
	q.shot("18-broadcasts")
	q.click(".history .choice")
	q.until(shows(".results .state", "waiting, the tracker is offline"))
	q.noneSerious("broadcast")

	// Everybody, also who cannot be sent to.
	p.run(`location.hash = '#/broadcast'`)
	p.click(`input[name="all"]`)
	p.until(shows("h1", "To 5 trackers"))
	p.write(".composer textarea", "To all of you")
	p.enter()
	p.until(shows(".summary", "Sent to 4 trackers · 2 delivered · not sent to 1"))
	p.until(shows(".results .state", "not sent: blocked"))
	p.shot("18-everybody")
	v := c.as(t, "vic") // who only reads sees the result too
	v.run(`location.hash = '#/broadcasts'`)
	v.until(shows(".history .quote", "Fog ahead"))
	v.click(".history .choice")
	v.until(shows(".summary", "Sent to 4 trackers · 2 delivered · not sent to 1"))
}

// testRefusedBroadcast: one tracker that may not be written to holds up all; the others can be
// chosen, and nothing is sent twice.
func (c *consoleRig) testRefusedBroadcast(t *testing.T) {
	before := len(c.API.Call("broadcast/list").List)
	p := c.as(t, "dan")
	p.run(`sessionStorage.setItem('trackchat.work.1.selection', '{"trackers":[4,5]}')`)
	p.do(chromedp.Navigate(c.url() + "?refused#/broadcast"))
	p.until(shows("h1", "To 2 trackers"))
	p.write(".composer textarea", "To one of two")
	p.enter()
	p.until(shows(".summary.bad", "Nothing was sent: not every tracker may be written to."))
	p.until(shows(".result .act .button", "Send to the others"))
	p.shot("18-refused")
	p.do(chromedp.Reload())
	p.until(shows(".summary.bad", "Nothing was sent"))
	p.until(shows(".result .act .button", "Send to the others"))
	p.run(`location.hash = '#/broadcasts'`)
	p.until(shows(".history .about", "Nothing was sent"))
	p.click(".history .choice")
	p.click(".result .act .button")
	p.until(shows(".summary", "Sent to 1 tracker"))
	p.run(`location.hash = '#/broadcasts'`)
	p.until(fmt.Sprintf(`document.querySelectorAll('.history li').length === %d`, before+1))
	if n := len(c.API.Call("broadcast/list").List); n != before+1 {
		t.Errorf("%d broadcasts are kept, not %d", n, before+1)
	}
}

// testInterruptedBroadcast: one that was being sent when the connection broke is sent once, by hand
// or by the page that is loaded next, and another page reads anew what it missed.
func (c *consoleRig) testInterruptedBroadcast(t *testing.T) {
	p := c.as(t, "dan")
	p.run(`sessionStorage.setItem('trackchat.work.1.selection', '{"groups":[4]}')`)
	p.do(chromedp.Navigate(c.url() + "?interrupted#/broadcast"))
	p.until(shows("h1", "To 2 trackers"))
	p.block("*://*:*/v2/tracker/chat/broadcast")
	p.write(".composer textarea", "Once only")
	p.enter()
	p.until(shows(".summary.bad", "the server cannot be reached"))
	p.do(chromedp.Reload())
	p.until(shows(".summary.bad", "the server cannot be reached"))
	p.block("*://*:*/nothing")
	p.click(".result .act .button")
	p.until(shows(".summary", "Sent to 2 trackers"))
	for _, id := range []int{northTracker, northReefer} {
		n := 0
		for _, m := range c.API.List(id) {
			if m.Text == "Once only" {
				n++
			}
		}
		if n != 1 {
			t.Errorf("tracker %d got it %d times", id, n)
		}
	}
	p.until(`Object.keys(sessionStorage).filter((k) => k.includes('broadcast.')).length === 0`)
}
