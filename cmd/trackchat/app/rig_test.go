package app

import (
	"context"
	"os"
	"testing"

	"trackchat/cmd/trackchat/apptest"
	"trackchat/cmd/trackchat/config"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"
)

// TestMain lets the tests' children be the service alone: serve --config FILE.
func TestMain(m *testing.M) {
	os.Exit(apptest.Main(m, func() {
		log := zap.Must(zap.NewProduction())
		cfg, err := config.Load(os.Args[3], nil)
		var a *App
		if err == nil {
			a, err = New(cfg, log)
		}
		if err == nil {
			err = a.Run(context.Background(), log)
		}
		log.Fatal("ended", zap.Error(err))
	}))
}

type service = apptest.Service[*App]

func startService(t *testing.T, cfg *config.Config, change ...func(*App)) *service {
	t.Helper()
	app, err := New(cfg, zaptest.NewLogger(t))
	apptest.Must(t, err)
	for _, c := range change {
		c(app)
	}
	return apptest.Start(t, app)
}

// wantUnready compares why a service is not ready; nothing: it is.
func wantUnready(t *testing.T, s *service, want string) {
	t.Helper()
	if got := s.Unready(); got != want {
		t.Errorf("not ready: %q, want %q", got, want)
	}
}
