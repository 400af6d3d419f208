package load

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// probe asks the API about the first and the last tracker, so that a wrong key or directory is told
// before anything is connected. It returns the service's clock.
func probe(ctx context.Context, o *Options) (time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	trackers := []int64{o.From, o.To}
	if o.From == o.To {
		trackers = trackers[:1]
	}
	body, err := json.Marshal(map[string]any{"hash": o.Key, "trackers": trackers})
	if err != nil {
		return time.Time{}, fmt.Errorf("asking the API: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimRight(o.API,
		"/")+"/v2/tracker/chat/updated/list", bytes.NewReader(body))
	if err != nil {
		return time.Time{}, fmt.Errorf("asking the API: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	c := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := c.Do(req)
	if err != nil {
		return time.Time{}, fmt.Errorf("asking the API: %w", err)
	}
	defer func() { _ = resp.Body.Close() }() // it was read
	text, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	var a struct {
		Success bool `json:"success"`
		Status  struct {
			Code        int    `json:"code"`
			Description string `json:"description"`
		} `json:"status"`
	}
	switch {
	case err != nil:
		return time.Time{}, fmt.Errorf("asking the API: %w", err)
	case json.Unmarshal(text, &a) != nil:
		return time.Time{}, fmt.Errorf("asking the API: %s and no JSON: is %s the API?",
			resp.Status, o.API)
	case !a.Success:
		return time.Time{}, fmt.Errorf("asking the API about trackers %d and %d: error %d (%s)",
			o.From, o.To, a.Status.Code, a.Status.Description)
	}
	if at, err := http.ParseTime(resp.Header.Get("Date")); err == nil {
		return at, nil
	}
	return time.Now(), nil
}
