package config

import (
	"errors"
	"fmt"
	"reflect"
	"slices"

	"trackchat/queue"

	"go.yaml.in/yaml/v3"
)

const maxDirectoryFile = 1 << 30

// DirectoryFile is what a directory file says. Trackers and accounts are in the order of the file
// and contradict neither themselves nor each other.
type DirectoryFile struct {
	Accounts  []queue.Account // Password is empty, also of users: a file has no hashes
	Trackers  []queue.Tracker
	Passwords map[Holder]string // as written; who cannot log in has none
}

// accountEntry is an account as it is written.
type accountEntry struct {
	ID        int64           `yaml:"id"`
	Login     string          `yaml:"login"`
	Password  string          `yaml:"password" secret:"true"`
	Title     string          `yaml:"title"`
	TimeZone  string          `yaml:"time_zone"`
	Keys      []keyEntry      `yaml:"keys" secret:"true"`
	Users     []userEntry     `yaml:"users"`
	Groups    []groupEntry    `yaml:"groups"`
	Templates []templateEntry `yaml:"templates"`

	line int
}

func (e *accountEntry) start(line int) { e.TimeZone, e.line = "UTC", line }

// trackerEntry is a tracker as it is written.
type trackerEntry struct {
	ID         int64                `yaml:"id"`
	Account    int64                `yaml:"account"`
	Label      string               `yaml:"label"`
	Protocol   string               `yaml:"protocol"`
	DeviceID   string               `yaml:"device_id"`
	Password   string               `yaml:"password" secret:"true"`
	Model      string               `yaml:"model"`
	Blocked    bool                 `yaml:"blocked"`
	Chat       bool                 `yaml:"chat"`
	Features   []string             `yaml:"features"`
	EmployeeID int64                `yaml:"employee_id"`
	Employee   queue.EmployeeRecord `yaml:"employee"`
	Settings   map[string]string    `yaml:"settings"`
	GroupID    *int64               `yaml:"group_id"`
	Tags       []string             `yaml:"tags"`
	Upstream   string               `yaml:"upstream"`
	History    string               `yaml:"history"`

	line int
}

func (e *trackerEntry) start(line int) { e.Chat, e.line = true, line }

// Names of the two sections.
const (
	sectionAccounts = "accounts"
	sectionTrackers = "trackers"
)

// LoadDirectory reads a directory file. What is wrong with its content is a *ConfigError that names
// every problem, a list's first ones if there are very many.
func LoadDirectory(file string) (*DirectoryFile, error) {
	data, err := readLimited(file, maxDirectoryFile)
	if err != nil {
		return nil, fmt.Errorf("reading the directory file: %w", err)
	}
	r := newDirectoryReader()
	if err := r.pieces(data); err != nil {
		r = newDirectoryReader()
		if err := r.whole(data); err != nil {
			return nil, &Error{Problems: []string{err.Error()}}
		}
	}
	r.owners()
	r.groups()
	if err := r.problems.err(); err != nil {
		return nil, err
	}
	return &r.file, nil
}

// directoryReader turns nodes into accounts and trackers as they come.
type directoryReader struct {
	decoder
	file     DirectoryFile
	seen     seen
	zones    map[string]bool // whether such a time zone exists
	features []string        // the default, shared by all trackers that name no others
}

func newDirectoryReader() *directoryReader {
	return &directoryReader{
		decoder: decoder{broken: make(map[string]bool)}, seen: newSeen(),
		file:  DirectoryFile{Passwords: make(map[Holder]string)},
		zones: make(map[string]bool), features: []string{queue.FeatureChat},
	}
}

// whole reads a file in any form of YAML. Its nodes take some forty times the memory of the result.
func (r *directoryReader) whole(data []byte) error {
	root, err := parseYAML(data)
	if err != nil || root == nil {
		return err
	}
	if root.Kind != yaml.MappingNode {
		return fmt.Errorf("line %d: %s where accounts and trackers are expected", root.Line,
			kindName(root))
	}
	r.keys(nil, root, func(key, value *yaml.Node) {
		if value.Kind == yaml.AliasNode {
			value = value.Alias
		}
		p := (*keyPath)(nil).key(key.Value)
		switch {
		case key.Value != sectionAccounts && key.Value != sectionTrackers:
			r.fail(p, key, "unknown key, known here: %s, %s", sectionAccounts,
				sectionTrackers)
		case isNull(value): // all entries are commented out
		case value.Kind != yaml.SequenceNode:
			r.fail(p, value, "%s where a list is expected", kindName(value))
		default:
			r.entries(key.Value, value.Content)
		}
	})
	return nil
}

// pieces reads a file in the usual form a few hundred entries at a time. Its errors say that the
// file has another form, and nothing else about it.
func (r *directoryReader) pieces(data []byte) error {
	return eachPiece(data, func(p piece) error {
		root, err := parseYAML(p.text)
		if err != nil {
			return err
		}
		switch {
		case root == nil:
			return nil
		case p.section == "" || root.Kind != yaml.SequenceNode:
			return errOtherForm
		}
		r.offset = p.lines
		r.entries(p.section, root.Content)
		return nil
	})
}

var errOtherForm = errors.New("not a list of entries for each section")

// entries takes the next entries of a section.
func (r *directoryReader) entries(section string, nodes []*yaml.Node) {
	list := (*keyPath)(nil).key(section)
	for _, n := range nodes {
		if section == sectionAccounts {
			var e accountEntry
			p := list.element(r.seen.accounts)
			r.seen.accounts++
			r.element(p, n, reflect.ValueOf(&e).Elem(), false)
			r.account(p, &e)
			continue
		}
		var e trackerEntry
		p := list.element(r.seen.trackers)
		r.seen.trackers++
		r.element(p, n, reflect.ValueOf(&e).Elem(), false)
		r.tracker(p, &e)
	}
}

func (r *directoryReader) account(p *keyPath, e *accountEntry) {
	at := entry{p, e.line}
	r.checkAccount(at, e)
	a := queue.Account{
		ID: queue.AccountID(e.ID), Login: e.Login, Title: e.Title,
		TimeZone: e.TimeZone,
	}
	r.people(at, e, &a)
	if e.Password != "" {
		r.file.Passwords[Holder{Account: a.ID}] = e.Password
	}
	r.file.Accounts = append(r.file.Accounts, a)
}

func (r *directoryReader) tracker(p *keyPath, e *trackerEntry) {
	at := entry{p, e.line}
	r.checkTracker(at, e)
	history, _ := queue.ParseHistory(e.History)
	if e.Features == nil || slices.Equal(e.Features, r.features) {
		e.Features = r.features
	}
	var record *queue.EmployeeRecord
	if e.Employee != (queue.EmployeeRecord{}) {
		record = new(e.Employee) // a copy: the entry is not held
	}
	r.file.Trackers = append(r.file.Trackers, queue.Tracker{
		ID: queue.TrackerID(e.ID), Account: queue.AccountID(e.Account), Label: e.Label,
		Protocol: e.Protocol, DeviceID: queue.NormalizeDeviceID(e.DeviceID),
		Password: e.Password, Model: e.Model, Blocked: e.Blocked, Chat: e.Chat,
		Features: e.Features, Employee: e.EmployeeID,
		EmployeeRecord: record, Settings: e.Settings, Upstream: e.Upstream, History: history,
		Sorting: r.sorting(at, e),
	})
}
