package main

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"

	"trackchat/protocol"
)

type directoryFlags struct {
	deviceFlags
	firstTracker int64
	key          string
}

func (f *directoryFlags) register(fs *flag.FlagSet) {
	f.deviceFlags.register(fs)
	fs.Int64Var(&f.firstTracker, "first-tracker", 1,
		"tracker `ID` of the first device, counted up for the others")
	fs.StringVar(&f.key, "key", "",
		"API `KEY` of the account, 32 hexadecimal digits (default: made from the other flags, always the same)")
}

// runDirectory writes the directory of a fleet: the same flags give the same bytes.
func runDirectory(args []string, stdout, stderr io.Writer) int {
	var f directoryFlags
	fs := flag.NewFlagSet("trackersim directory", flag.ContinueOnError)
	f.register(fs)
	if code, done := parse(fs, args, stdout, stderr); done {
		return code
	}
	p, n, err := f.resolve()
	if err == nil {
		err = f.check()
	}
	if err != nil {
		return misused(fs, err, stderr)
	}
	out := bufio.NewWriter(stdout)
	writeDirectory(out, &f, p, n)
	if err := out.Flush(); err != nil {
		fmt.Fprintf(stderr, "trackersim: writing the directory: %v\n", err)
		return exitNobody
	}
	return exitOK
}

func (f *directoryFlags) check() error {
	if f.firstTracker < 1 || f.firstTracker > 1<<53-maxDevices {
		return fmt.Errorf("--first-tracker %d is out of range", f.firstTracker)
	}
	f.key = strings.ToLower(f.key)
	if f.key != "" && !regexp.MustCompile(`^[0-9a-f]{32}$`).MatchString(f.key) {
		return errors.New("--key is not 32 hexadecimal digits")
	}
	return nil
}

// writeDirectory writes YAML; errors stay in out.
func writeDirectory(out *bufio.Writer, f *directoryFlags, p *protocol.Protocol, n ids) {
	key := f.key
	if key == "" {
		key = defaultKey(p, n, f.firstTracker)
	}
	fmt.Fprint(out, "# Simulated trackers. Anybody can know the login and a key that was not given with --key: not for a service that others reach.\n")
	fmt.Fprint(out, "accounts:\n")
	fmt.Fprintf(out, "  - { id: 1, login: demo, password: demo, title: Simulated fleet, time_zone: Europe/Berlin, keys: [%q] }\n", key)
	fmt.Fprint(out, "trackers:\n")
	values := make([]string, 0, len(f.settings))
	for _, name := range slices.Sorted(maps.Keys(f.settings)) {
		if p.CheckTracker(name, f.settings[name]) != nil {
			continue // a listener's
		}
		values = append(values, fmt.Sprintf("%s: %q", name, f.settings[name]))
	}
	set := strings.Join(values, ", ")
	for i := range f.devices {
		id := f.firstTracker + int64(i)
		fmt.Fprintf(out, "  - { id: %d, account: 1, label: Truck %d, protocol: %s, device_id: %q, password: \"\", model: %s, blocked: false, features: [chat], settings: {%s} }\n",
			id, id, p.Name, n.at(i), p.Name, set)
	}
}

// defaultKey is the API key of a directory that was given none.
func defaultKey(p *protocol.Protocol, n ids, firstTracker int64) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "trackersim directory %s %s %d", p.Name, n.at(0),
		firstTracker))
	return hex.EncodeToString(sum[:16])
}
