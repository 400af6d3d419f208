package main

import (
	"strings"
	"testing"

	"trackchat/api/audit"
	"trackchat/cmd/trackchat/config"

	"go.uber.org/zap"
)

// TestAuditIsLoggedAtAnyLevel: each line of it, in either form; of the rest what its level says.
func TestAuditIsLoggedAtAnyLevel(t *testing.T) {
	const each = 500
	for level, rest := range map[string]int{"debug": 4, "info": 3, "warn": 2, "error": 1} {
		for _, format := range []string{config.FormatConsole, "json"} {
			var to strings.Builder
			log := newLogger(config.Log{Level: level, Format: format}, &to)
			lines := log.With(zap.String("node", "a")).Named(audit.Name)
			for range each {
				lines.Info("key/create", zap.String("outcome", "done"))
			}
			for _, say := range []func(string, ...zap.Field){
				log.Debug, log.Info, log.Warn, log.Error,
			} {
				say("else")
			}
			text := to.String()
			if n := strings.Count(text, "key/create"); n != each {
				t.Errorf("%s, %s: %d lines of %d", level, format, n, each)
			}
			if n := strings.Count(text, "else"); n != rest {
				t.Errorf("%s, %s: %d other lines, not %d", level, format, n, rest)
			}
		}
	}
}
