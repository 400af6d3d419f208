package main

import (
	"os"
	"testing"

	"go.uber.org/zap/zaptest"
)

func TestMain(m *testing.M) { os.Exit(runOr(m, main)) }

// mainService is a service in this process.
type mainService = Service[*App]

func startMain(t *testing.T, cfg *Config) *mainService {
	t.Helper()
	app, err := New(cfg, zaptest.NewLogger(t))
	must(t, err)
	return start(t, app)
}
