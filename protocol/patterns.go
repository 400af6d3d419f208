package protocol

import (
	"fmt"
	"regexp"
	"sync"
)

// mostPatterns bounds the patterns that are kept; beyond that each session compiles its own.
const mostPatterns = 256

// CheckPattern accepts regular expressions, also none.
func CheckPattern(v string) error {
	if _, err := regexp.Compile(v); err != nil {
		return fmt.Errorf("reading the pattern: %w", err)
	}
	return nil
}

// Patterns keeps compiled patterns of settings, so that sessions share them. The zero value is
// ready.
type Patterns struct {
	mu       sync.Mutex
	compiled map[string]*regexp.Regexp
}

// Get returns nil for an empty pattern and for one that CheckPattern refuses.
func (p *Patterns) Get(v string) *regexp.Regexp {
	if v == "" {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if re, ok := p.compiled[v]; ok {
		return re
	}
	re, err := regexp.Compile(v)
	if err != nil {
		return nil
	}
	if p.compiled == nil {
		p.compiled = make(map[string]*regexp.Regexp)
	}
	if len(p.compiled) < mostPatterns {
		p.compiled[v] = re
	}
	return re
}
