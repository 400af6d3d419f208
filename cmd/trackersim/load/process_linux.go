package load

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"
)

// ticksPerSecond is USER_HZ, which Linux fixes at 100 for what it tells programs.
const ticksPerSecond = 100

// usage is what a process has used.
type usage struct {
	cpu         time.Duration
	rss, anon   int64 // bytes
	descriptors int
}

// usageOf asks the kernel about a process.
func usageOf(pid int) (u usage, err error) {
	dir := "/proc/" + strconv.Itoa(pid)
	stat, err := os.ReadFile(dir + "/stat")
	if err != nil {
		return u, fmt.Errorf("process %d: %w", pid, err)
	}
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:]) // the name may hold anything
	if len(fields) < 13 {
		return u, fmt.Errorf("process %d: %s/stat is cut off", pid, dir)
	}
	user, err1 := strconv.ParseInt(string(fields[11]), 10, 64)
	system, err2 := strconv.ParseInt(string(fields[12]), 10, 64)
	status, err3 := os.ReadFile(dir + "/status")
	if err := errors.Join(err1, err2, err3); err != nil {
		return u, fmt.Errorf("process %d: %w", pid, err)
	}
	u.cpu = time.Duration(user+system) * time.Second / ticksPerSecond
	for line := range bytes.Lines(status) {
		words := bytes.Fields(line)
		if len(words) < 2 {
			continue
		}
		kb, _ := strconv.ParseInt(string(words[1]), 10, 64) // other lines hold no numbers
		switch string(words[0]) {
		case "VmRSS:":
			u.rss = kb << 10
		case "RssAnon:":
			u.anon = kb << 10
		}
	}
	if open, err := os.ReadDir(dir + "/fd"); err == nil { // another user's are not to be seen
		u.descriptors = len(open)
	}
	return u, nil
}

// nameOf is the name of a process.
func nameOf(pid int) string {
	name, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/comm")
	if err != nil {
		return ""
	}
	return string(bytes.TrimSpace(name))
}
