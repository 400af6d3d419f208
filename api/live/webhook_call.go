package live

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"syscall"
	"time"

	"trackchat/api/navixy"
)

const (
	maxHookAnswer = 64 << 10 // of an answer's header, and of its body that is read
	hookIdle      = 30 * time.Second
	maxHookURL    = 2048
)

// errAddress refuses to call what is not on the public network.
var errAddress = errors.New("the address is not public; webhooks.allow_private would allow it")

// hookCaller posts events. It follows no redirects, uses no proxy, and looks at the address that it
// really connects to: what a name pointed to before says nothing.
type hookCaller struct {
	client  *http.Client
	timeout time.Duration // of one call
	now     func() time.Time
}

func newHookCaller(allowPrivate bool, timeout time.Duration, now func() time.Time) *hookCaller {
	dialer := &net.Dialer{Timeout: timeout, KeepAlive: hookIdle}
	if !allowPrivate {
		dialer.Control = func(_, address string, _ syscall.RawConn) error {
			return checkAddress(
				address)
		}
	}
	return &hookCaller{
		client: &http.Client{
			Transport: &http.Transport{
				DialContext: dialer.DialContext, TLSHandshakeTimeout: timeout,
				ResponseHeaderTimeout: timeout, IdleConnTimeout: hookIdle,
				MaxIdleConnsPerHost: hookCallsAccount, MaxResponseHeaderBytes: maxHookAnswer,
				DisableCompression: true, ForceAttemptHTTP2: true,
			},
			CheckRedirect: func(*http.Request,
				[]*http.Request,
			) error {
				return http.ErrUseLastResponse
			},
		},
		timeout: timeout, now: now,
	}
}

// checkAddress refuses an address and port of a connection that is not public.
func checkAddress(address string) error {
	peer, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("%w: %s", errAddress, address)
	}
	if !isPublic(peer.Addr()) {
		return fmt.Errorf("%w: %s", errAddress, peer.Addr())
	}
	return nil
}

// isPublic reports whether an address belongs to the public network (IANA special-purpose address
// registries). IPv6 addresses that stand for an IPv4 one are not: they lead where a gateway
// decides.
func isPublic(a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	if !a.IsGlobalUnicast() || a.IsPrivate() {
		return false
	}
	for _, special := range [...]string{
		"0.0.0.0/8", "100.64.0.0/10", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24",
		"198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "240.0.0.0/4",
		"::/96", "64:ff9b::/96", "64:ff9b:1::/48", "100::/64", "2001::/23", "2001:db8::/32",
		"2002::/16", "fec0::/10",
	} {
		if netip.MustParsePrefix(special).Contains(a) {
			return false
		}
	}
	return true
}

// CheckWebhookURL says what is wrong with a URL, nothing if it can be called.
func CheckWebhookURL(text string, allowPrivate bool) (problem string) {
	u, err := url.Parse(text)
	switch {
	case text == "":
		return navixy.ProblemNull
	case err != nil, u.Scheme != "https" && u.Scheme != "http", u.Hostname() == "", u.Opaque != "",
		u.Fragment != "", len(text) > maxHookURL:
		return fmt.Sprintf("must be an http or https URL of at most %d bytes", maxHookURL)
	case u.User != nil:
		return "must not contain a login: whoever sees the URL would see it; calls are signed instead"
	}
	if a, err := netip.ParseAddr(u.Hostname()); err == nil && !allowPrivate && !isPublic(a) {
		return "must not point into a private network"
	}
	return ""
}

// post sends one event; nil says that the receiver has taken it.
func (c *hookCaller) post(ctx context.Context, target, secret string, body []byte) error {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, target, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("making the request: %w", err)
	}
	stamp := strconv.FormatInt(c.now().Unix(), 10)
	req.Header.Set("Content-Type", "application/json; charset=utf-8")
	req.Header.Set("User-Agent", "trackchat")
	req.Header.Set("X-Timestamp", stamp)
	req.Header.Set("X-Signature", "sha256="+sign(secret, stamp, body))
	resp, err := c.client.Do(req)
	if err != nil {
		if ue, ok := errors.AsType[*url.Error](err); ok {
			err = ue.Err // without the URL
		}
		return err
	}
	// so that the connection can be used again.
	_, _ = io.CopyN(io.Discard, resp.Body, maxHookAnswer)
	_ = resp.Body.Close()
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return fmt.Errorf("the receiver answers %d", resp.StatusCode)
	}
	return nil
}

// sign is the HMAC-SHA-256 over timestamp, dot and body, in hexadecimal digits.
func sign(secret, stamp string, body []byte) string {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(stamp))
	mac.Write([]byte{'.'})
	mac.Write(body)
	return hex.EncodeToString(mac.Sum(nil))
}

// hookBody is an event as a webhook gets it: its data with its name in front.
func hookBody(e *event) []byte {
	body := append([]byte(`{"event":`), navixy.AppendString(nil, e.name)...)
	if len(e.data) > 2 {
		body = append(body, ',')
	}
	return append(body, e.data[1:]...)
}
