package queue

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Check tells every problem of an account's keys, users, groups and templates, each with the place
// where it is, such as users[2].login.
func (a *Account) Check(tell func(place, problem string)) {
	within(tell, "keys", len(a.Keys), MaxKeys)
	for i := range a.Keys {
		at := fmt.Sprintf("keys[%d].", i)
		a.Keys[i].Check(func(place, problem string) { tell(at+place, problem) })
	}
	p := a.People
	if p == nil {
		return
	}
	within(tell, "users", len(p.Users), MaxUsers)
	within(tell, "groups", len(p.Groups), MaxGroups)
	within(tell, "templates", len(p.Templates), MaxTemplates)
	var users, groups, templates map[int64]bool
	for i := range p.Users {
		at := fmt.Sprintf("users[%d].", i)
		checkID(tell, at+"id", p.Users[i].ID, &users)
		p.Users[i].Check(func(place, problem string) { tell(at+place, problem) })
	}
	for i := range p.Groups {
		at := fmt.Sprintf("groups[%d].", i)
		checkID(tell, at+"id", p.Groups[i].ID, &groups)
		p.Groups[i].Check(func(place, problem string) { tell(at+place, problem) })
	}
	for i := range p.Templates {
		at := fmt.Sprintf("templates[%d].", i)
		checkID(tell, at+"id", p.Templates[i].ID, &templates)
		p.Templates[i].Check(func(place, problem string) { tell(at+place, problem) })
	}
}

func within(tell func(place, problem string), place string, n, most int) {
	if n > most {
		tell(place, fmt.Sprintf("must be at most %d", most))
	}
}

func checkID(tell func(place, problem string), place string, id int64, seen *map[int64]bool) {
	if *seen == nil {
		*seen = make(map[int64]bool)
	}
	switch {
	case id < 1 || id >= MaxID:
		tell(place, "must be between 1 and 2^53-1")
	case (*seen)[id]:
		tell(place, "must be given once")
	}
	(*seen)[id] = true
}

// checkText wants least to most characters of one line.
func checkText(tell func(place, problem string), place, s string, least, most int) {
	n := utf8.RuneCountInString(s)
	blank := least > 0 && strings.TrimSpace(s) == ""
	if !utf8.ValidString(s) || n < least || n > most || blank ||
		strings.ContainsFunc(s, unicode.IsControl) {
		tell(place, fmt.Sprintf("must have %d to %d characters and no control characters", least,
			most))
	}
}

// Check tells every problem of a key's fields.
func (k *Key) Check(tell func(place, problem string)) {
	checkText(tell, "name", k.Name, 0, MaxPeopleName)
	checkRole(tell, k.Role)
	if k.EndMs < 0 {
		tell("end", "must not be before 1970")
	}
}

func checkRole(tell func(place, problem string), r Role) {
	if int(r) >= len(roleNames) {
		tell("role", "must be manager, dispatcher or viewer")
	}
}

// Check tells every problem of a user's fields but the id.
func (u *User) Check(tell func(place, problem string)) {
	checkText(tell, "login", u.Login, 1, MaxPeopleName)
	checkText(tell, "name", u.Name, 1, MaxPeopleName)
	checkRole(tell, u.Role)
	if len(u.Locale) > len("zh_Hans_CN") || strings.ContainsFunc(u.Locale, notInLabel) {
		tell("locale", "must be a locale such as de_DE")
	}
}

// Check tells every problem of a group's fields but the id.
func (g *Group) Check(tell func(place, problem string)) {
	checkText(tell, "title", g.Title, 1, MaxPeopleName)
	const digits = "0123456789abcdefABCDEF"
	if g.Color != "" && (len(g.Color) != 6 || strings.Trim(g.Color, digits) != "") {
		tell("color", "must be six hexadecimal digits")
	}
}

// Check tells every problem of a template's fields but the id.
func (t *Template) Check(tell func(place, problem string)) {
	checkText(tell, "name", t.Name, 1, MaxPeopleName)
	if n := utf8.RuneCountInString(t.Text); !utf8.ValidString(t.Text) || n > MaxTemplateText ||
		strings.TrimSpace(t.Text) == "" || strings.ContainsFunc(t.Text, notInText) {
		tell("text", fmt.Sprintf("must have 1 to %d characters and no control characters",
			MaxTemplateText))
	}
	within(tell, "choices", len(t.Choices), MaxChoices)
	for i, c := range t.Choices {
		checkText(tell, fmt.Sprintf("choices[%d]", i), c, 1, MaxChoice)
	}
	if t.TTL < 0 || t.TTL > MaxTTL {
		tell("ttl", fmt.Sprintf("must be between 1 and %d, or absent", MaxTTL))
	}
}

func notInText(r rune) bool { return unicode.IsControl(r) && r != '\n' && r != '\t' }

// CheckName tells what is wrong with the name of an author.
func CheckName(name string, tell func(problem string)) {
	checkText(func(_, problem string) { tell(problem) }, "", name, 1, MaxPeopleName)
}

// CheckTags tells what is wrong with a tracker's tags.
func CheckTags(tags []string, tell func(place, problem string)) {
	within(tell, "tags", len(tags), MaxTags)
	for i, tag := range tags {
		place := fmt.Sprintf("tags[%d]", i)
		checkText(tell, place, tag, 1, MaxTag)
		if slices.Contains(tags[:i], tag) {
			tell(place, "must be given once")
		}
	}
}
