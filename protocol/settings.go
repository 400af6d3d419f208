package protocol

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// SettingSpec declares one flat setting of a protocol, for a listener or a single tracker.
type SettingSpec struct {
	Name    string
	Default string
	Help    string
	Check   func(value string) error // nil accepts anything
	// Early settings decide who a device is, so they are read before its tracker is known: only a
	// listener can have them.
	Early bool
}

// CheckTracker reports what is wrong with a setting of a single tracker.
func (p *Protocol) CheckTracker(name, value string) error {
	if slices.ContainsFunc(p.Settings, func(s SettingSpec) bool {
		return s.Name == name &&
			s.Early
	}) {
		return fmt.Errorf("%s setting %q says how devices log in, so it belongs to the listener and not to a tracker", p.Name, name)
	}
	_, err := p.NewSettings(map[string]string{name: value})
	return err
}

// Settings are checked values of a protocol's settings. The zero value has none; copies share them.
type Settings struct{ values map[string]string }

// NewSettings lays the layers over the protocol's defaults, later ones over earlier ones, and
// reports every unknown name and wrong value.
func (p *Protocol) NewSettings(layers ...map[string]string) (Settings, error) {
	values := make(map[string]string, len(p.Settings))
	checks := make(map[string]func(string) error, len(p.Settings))
	for _, spec := range p.Settings {
		values[spec.Name] = spec.Default
		checks[spec.Name] = spec.Check
	}
	var errs []error
	for _, layer := range layers {
		for _, name := range slices.Sorted(maps.Keys(layer)) {
			check, known := checks[name]
			if !known {
				errs = append(errs, fmt.Errorf("%s has no setting %q (it has: %s)", p.Name, name,
					strings.Join(slices.Sorted(maps.Keys(checks)), ", ")))
				continue
			}
			if check != nil {
				if err := check(layer[name]); err != nil {
					errs = append(errs, fmt.Errorf("%s setting %q: %w", p.Name, name, err))
					continue
				}
			}
			values[name] = layer[name]
		}
	}
	return Settings{values}, errors.Join(errs...)
}

// String returns a value, empty for an unknown name.
func (s Settings) String(name string) string { return s.values[name] }

// Bool reports whether a value checked by CheckBool is true.
func (s Settings) Bool(name string) bool { return s.values[name] == "true" }

// Int returns a value checked by CheckInt (decimal, or hexadecimal with 0x), 0 for anything else.
func (s Settings) Int(name string) int {
	n, err := strconv.ParseInt(s.values[name], 0, 64)
	if err != nil {
		return 0
	}
	return int(n)
}

// CheckBool accepts "true" and "false".
func CheckBool(v string) error {
	if v != "true" && v != "false" {
		return fmt.Errorf("%q is neither true nor false", v)
	}
	return nil
}

// CheckInt accepts whole numbers, decimal or with 0x, from lo to hi.
func CheckInt(lo, hi int) func(string) error {
	return func(v string) error {
		n, err := strconv.ParseInt(v, 0, 64)
		if err != nil || n < int64(lo) || n > int64(hi) {
			return fmt.Errorf("%q is not a whole number from %d to %d", v, lo, hi)
		}
		return nil
	}
}

// CheckOneOf accepts the given words.
func CheckOneOf(words ...string) func(string) error {
	return func(v string) error {
		if !slices.Contains(words, v) {
			return fmt.Errorf("%q is none of %s", v, strings.Join(words, ", "))
		}
		return nil
	}
}
