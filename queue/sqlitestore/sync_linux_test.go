package sqlitestore_test

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"trackchat/queue/sqlitestore"

	"github.com/prometheus/client_golang/prometheus"
)

// Nothing that a process sees shows whether it synced: kill -9 leaves the system's memory alone. So
// these tests run themselves again under strace, and look at the order of its calls.

const syncEnv = "SQLITESTORE_SYNC_PLACE"

func TestSyncAlways(t *testing.T) { syncs(t, "TestSyncAlways", sqlitestore.Always) }

func TestSyncEverySecond(t *testing.T) { syncs(t, "TestSyncEverySecond", sqlitestore.EverySecond) }

func syncs(t *testing.T, name string, d sqlitestore.Durability) {
	t.Helper()
	if place := os.Getenv(syncEnv); place != "" {
		syncChild(t, place, d)
		return
	}
	place, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	older := filepath.Join(place, "older")
	must(t, os.Mkdir(older, 0o700))
	ofSchema(t, older, 6)
	trace := filepath.Join(t.TempDir(), "trace")
	cmd := exec.CommandContext(t.Context(), "strace", "-f", "-y", "-qq", "-ttt", "-s", "64",
		"--seccomp-bpf", "-o", trace,
		"-e", "trace=write,pwrite64,fsync,fdatasync,link,linkat,rename,renameat,renameat2",
		os.Args[0], "-test.run=^"+name+"$", "-test.count=1")
	cmd.Env = append(os.Environ(), syncEnv+"="+place)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	w := &syncWatch{
		t: t, place: place, durability: d, files: map[string]*syncedFile{},
		pending: map[string]string{}, upTo: map[string]int{}, marks: map[string]int{},
	}
	w.read(trace)
	for mark, least := range map[string]int{
		"opened": 1, "answered": 300, "synced": 1, "copied": 1, "restarted": 1, "flushed": 1,
		"migrated": 1,
	} {
		if w.marks[mark] < least {
			t.Errorf("%d times %s, want %d", w.marks[mark], mark, least)
		}
	}
	if w.restarts < 2 {
		t.Errorf("the log started %d times", w.restarts)
	}
}

// syncChild is what is watched. It notes in a file what it has come to.
func syncChild(t *testing.T, place string, d sqlitestore.Durability) {
	t.Helper()
	f, err := os.Create(filepath.Join(place, "marks"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	mark := func(what string) {
		if _, err := f.WriteString(what + "\n"); err != nil {
			t.Fatal(err)
		}
	}
	reg, dir := prometheus.NewRegistry(), filepath.Join(place, "store")
	s := open(t, sqlitestore.Options{
		Path: dir, Durability: d, LogBytes: 64 << 10, MaxPending: 1 << 30, Registerer: reg,
	})
	mark("opened")
	send := func() { mustSend(t, s, 1, benchText()); mark("answered") }
	for range 300 { // enough for a checkpoint
		send()
	}
	synced := func() bool { return gauge(t, reg, "trackchat_store_unsynced_commits") == 0 }
	eventually(t, "the log is synced", synced)
	mark("synced")
	if err := sqlitestore.Backup(t.Context(), dir, filepath.Join(place, "copy.db")); err != nil {
		t.Fatal(err)
	}
	mark("copied")
	round := func() string {
		b, err := os.ReadFile(filepath.Join(dir, "chat.db-wal"))
		if err != nil {
			t.Fatal(err)
		}
		return string(b[16:24])
	}
	first := round()
	eventually(t, "the log starts over", func() bool { send(); return round() != first })
	mark("restarted")
	send() // no checkpoint is near that would sync it
	eventually(t, "the log is synced", synced)
	mark("flushed")
	open(t, sqlitestore.Options{Path: filepath.Join(place, "older"), Durability: d})
	mark("migrated")
}

// syncedFile counts the writes of a file, and of those the synced ones.
type syncedFile struct {
	written, synced int
	since           float64 // time of the first write that may not be synced
}

func (f *syncedFile) clean() bool { return f.synced == f.written }

const (
	syncDatabase = "/store/chat.db"
	syncLog      = "/store/chat.db-wal"
	syncOlder    = "/older/chat.db-wal"
	syncCopy     = "/copy.db.partial"
	syncNames    = "" // place itself, where the copy gets its name
)

// syncWatch goes through a trace. Files are known by their names below place.
type syncWatch struct {
	t          *testing.T
	place      string
	durability sqlitestore.Durability
	files      map[string]*syncedFile
	pending    map[string]string // by thread: the beginning of a call that others came between
	upTo       map[string]int    // by thread: writes before the sync that it is in
	marks      map[string]int
	restarts   int  // of the log
	header     bool // its header is written and not synced
}

var (
	traceLine = regexp.MustCompile(`^(\d+) +(\d+\.\d+) (.*)$`)
	traceCall = regexp.MustCompile(`^(\w+)\((?:\d+<([^>]*)>)?(.*)$`)
	traceMark = regexp.MustCompile(`^, "(\w+)\\n"`)
	traceHead = regexp.MustCompile(`, 32, 0(?:\) += .*)?$`) // 32 bytes at the beginning
)

func (w *syncWatch) read(trace string) {
	w.t.Helper()
	f, err := os.Open(trace)
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		m := traceLine.FindStringSubmatch(lines.Text())
		if m == nil {
			continue
		}
		thread, at, call := m[1], m[2], m[3]
		begins, ends := true, true
		if head, found := strings.CutSuffix(call, " <unfinished ...>"); found {
			w.pending[thread], call, ends = head, head, false
		} else if _, rest, found := strings.Cut(call, " resumed>"); found &&
			strings.HasPrefix(call, "<... ") {
			call, begins = w.pending[thread]+rest, false
		}
		if c := traceCall.FindStringSubmatch(call); c != nil {
			w.call(thread, at, c, begins, ends)
		}
	}
	if err := lines.Err(); err != nil {
		w.t.Fatal(err)
	}
}

// name is that of a file below place; one copy is like the other.
func (w *syncWatch) name(path string) string {
	name, found := strings.CutPrefix(path, w.place)
	if !found {
		return ""
	}
	if strings.HasPrefix(name, "/copy.db.partial-") {
		return syncCopy
	}
	return name
}

func (w *syncWatch) file(name string) *syncedFile {
	f := w.files[name]
	if f == nil {
		f = &syncedFile{}
		w.files[name] = f
	}
	return f
}

// call takes note of a system call where it begins, and of a sync where it ends: only what was
// written before it began is on the disk then.
func (w *syncWatch) call(thread, at string, c []string, begins, ends bool) {
	w.t.Helper()
	path, rest := c[2], c[3]
	if !strings.HasPrefix(path, w.place) && !strings.Contains(rest, w.place) {
		return
	}
	now, err := strconv.ParseFloat(at, 64)
	if err != nil {
		w.t.Fatal(err)
	}
	name := w.name(path)
	f := w.file(name)
	switch {
	case strings.HasSuffix(c[1], "sync"):
		if begins {
			w.upTo[thread] = f.written
		}
		if ends && strings.HasSuffix(rest, "= 0") {
			w.synced(f, name, w.upTo[thread], now)
		}
	case !begins:
	case strings.HasPrefix(c[1], "link") || strings.HasPrefix(c[1], "rename"):
		if !w.file(syncCopy).clean() {
			w.t.Error("the copy got its name before it was synced")
		}
		w.file(syncNames).written++
	case name == "/marks":
		if m := traceMark.FindStringSubmatch(rest); m != nil {
			w.mark(m[1])
		}
	default:
		w.wrote(f, name, rest, now)
	}
}

func (w *syncWatch) wrote(f *syncedFile, name, rest string, now float64) {
	w.t.Helper()
	if f.clean() {
		f.since = now
	}
	f.written++
	if name != syncLog {
		return
	}
	if w.header {
		w.t.Error("the log goes on before its header is synced")
	}
	if w.header = traceHead.MatchString(rest); w.header {
		w.restarts++
		if !w.file(syncDatabase).clean() {
			w.t.Error("the log starts over before the database is synced")
		}
	}
}

func (w *syncWatch) synced(f *syncedFile, name string, upTo int, now float64) {
	w.t.Helper()
	const promised, slack = 1, 5 // seconds; a busy machine's disk takes its time
	if late := now - f.since; name == syncLog && !f.clean() && late > promised+slack {
		w.t.Errorf("the log was synced after %.1f s", late)
	}
	f.synced, f.since = max(f.synced, upTo), now
	if name == syncLog && f.clean() {
		w.header = false
	}
}

// mark looks at what must be on the disk when the child says so.
func (w *syncWatch) mark(what string) {
	w.t.Helper()
	w.marks[what]++
	if w.marks[what] == 2 && what != "answered" {
		w.t.Errorf("%s twice", what)
	}
	later := w.durability == sqlitestore.EverySecond &&
		(what == "answered" || what == "copied" || what == "restarted")
	if log := w.file(syncLog); !log.clean() && !later {
		w.t.Errorf("%s %d: %d writes of the log are not synced", what, w.marks[what],
			log.written-log.synced)
	}
	for _, name := range map[string][]string{
		"copied": {syncCopy, syncNames}, "migrated": {syncOlder},
	}[what] {
		if f := w.file(name); f.written == 0 || !f.clean() {
			w.t.Errorf("%s, but of %d writes of %q %d are synced", what, f.written, name, f.synced)
		}
	}
}
