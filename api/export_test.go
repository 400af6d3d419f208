package api

import (
	"maps"
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

// AdminRoutes returns every administrative path with its methods, as "GET /path".
func AdminRoutes() []string {
	all := new(administration).routes()
	maps.Copy(all, (&fleetAdmin{administration: new(administration)}).routes())
	maps.Copy(all, (&troubleAdmin{administration: new(administration)}).routes())
	maps.Copy(all, (&webhookAdmin{administration: new(administration)}).routes())
	var list []string
	for path, ms := range all {
		for method := range ms {
			list = append(list, method+" "+path)
		}
	}
	slices.Sort(list)
	return list
}
