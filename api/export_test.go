package api

import (
	"slices"
	"time"
)

// HurryFeed makes what is slow about the feed fast enough for a test, and bounds the readers of an
// account.
func (a *API) HurryFeed(heartbeat time.Duration, most int) {
	a.feed.Heartbeat, a.feed.PerAccount = heartbeat, most
}

// Routes returns the operations of an API as paths.
func (a *API) Routes() []string {
	var paths []string
	for handler, actions := range a.routes {
		for action := range actions {
			paths = append(paths, "/"+handler+"/"+action)
		}
	}
	slices.Sort(paths)
	return paths
}
