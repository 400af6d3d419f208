package api_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"trackchat/api"
	"trackchat/api/admin"
	"trackchat/api/navixy"
	"trackchat/queue"

	"github.com/prometheus/client_golang/prometheus"
)

const adminToken = "correct horse"

// adminWorld is a world with an administration listener beside it.
type adminWorld struct {
	*world
	admin string // URL
}

func newAdminWorld(t *testing.T, change ...func(*admin.Options)) *adminWorld {
	t.Helper()
	w := newWorld(t)
	w.dir.Replace(queue.NewSnapshot(nil, nil))
	follower := queue.NewFollower(w.store, w.dir, nil)
	o := admin.Options{
		// deadlines are made from it.
		Gatherer: prometheus.NewRegistry(), Token: adminToken, Store: w.store, Webhooks: w.store,
		Sync: follower.Sync, Now: time.Now,
		Devices: func(t *queue.Tracker) []navixy.Problem {
			if t.Protocol == "morse" {
				return []navixy.Problem{{Parameter: "protocol", Error: "morse is not built in"}}
			}
			return nil
		},
	}
	for _, f := range change {
		f(&o)
	}
	server := httptest.NewUnstartedServer(nil)
	server.Config = api.NewServer(admin.New(o), nil)
	server.Start()
	t.Cleanup(server.Close)
	return &adminWorld{world: w, admin: server.URL}
}

// call sends an administrator's request; body is sent as it is.
func (w *adminWorld) call(method, path string, body io.Reader) answer {
	w.tb.Helper()
	req, err := http.NewRequestWithContext(context.Background(), method, w.admin+path, body)
	if err != nil {
		w.tb.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+adminToken)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		w.tb.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		w.tb.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, string(b)}
}

func (w *adminWorld) get(path string) answer {
	w.tb.Helper()
	return w.call(http.MethodGet, path, nil)
}

func (w *adminWorld) put(path, body string) answer {
	w.tb.Helper()
	return w.call(http.MethodPut, path, strings.NewReader(body))
}

func (w *adminWorld) post(path, body string) answer {
	w.tb.Helper()
	return w.call(http.MethodPost, path, strings.NewReader(body))
}

func (w *adminWorld) delete(path string) answer {
	w.tb.Helper()
	return w.call(http.MethodDelete, path, nil)
}

// newKey makes a key for an account.
func (w *adminWorld) newKey(account string) (id, key string) {
	w.tb.Helper()
	var got struct{ Value struct{ ID, Key string } }
	a := w.post("/admin/accounts/"+account+"/keys", "")
	if err := json.Unmarshal([]byte(a.body), &got); err != nil || len(got.Value.ID) != 64 ||
		len(got.Value.Key) != 32 {
		w.tb.Fatalf("key: %d %s", a.status, a.body)
	}
	a.is(w.tb, `{"success":true,"value":{"id":"`+got.Value.ID+`","key":"`+got.Value.Key+`"}}`)
	return got.Value.ID, got.Value.Key
}
