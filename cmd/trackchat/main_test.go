package main

import (
	"os"
	"testing"

	"trackchat/cmd/trackchat/app"
	"trackchat/cmd/trackchat/apptest"
	"trackchat/cmd/trackchat/config"

	"go.uber.org/zap/zaptest"
)

func TestMain(m *testing.M) { os.Exit(apptest.Main(m, main)) }

// service is a service in this process.
type service = apptest.Service[*app.App]

func startService(t *testing.T, cfg *config.Config) *service {
	t.Helper()
	app, err := app.New(cfg, zaptest.NewLogger(t))
	apptest.Must(t, err)
	return apptest.Start(t, app)
}
