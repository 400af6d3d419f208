package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"syscall"

	"trackchat/cmd/trackchat/config"
)

// adminClient speaks to the administration of a running service.
type adminClient struct {
	base  string // URL without a path
	token string
	http  *http.Client
}

// adminFlags are those that every administrative command has.
type adminFlags struct{ config, url *string }

func newAdminFlags(fs *flag.FlagSet) adminFlags {
	return adminFlags{
		config: fs.String("config", "",
			"configuration `FILE` of the service, for its address and token"),
		url: fs.String("admin", "",
			"`URL` of the service's admin listener; default: that of the configuration"),
	}
}

// client finds the service as its configuration, or the environment, tells.
func (f adminFlags) client() (*adminClient, error) {
	cfg, err := config.Load(*f.config, os.Environ())
	if err != nil {
		return nil, err
	}
	base := strings.TrimSuffix(*f.url, "/")
	if base == "" {
		base = (&url.URL{Scheme: "http", Host: localAddress(cfg.Admin.Listen)}).String()
	}
	// No proxy, whatever the environment says: the token is meant for the service alone.
	return &adminClient{
		base: base, token: cfg.Admin.Token,
		http: &http.Client{Transport: &http.Transport{}},
	}, nil
}

// adminError is a refusal of the service.
type adminError struct {
	Status struct {
		Code        int
		Description string
	}
	Errors []struct{ Parameter, Error string }
}

// Error names everything that is wrong.
func (e *adminError) Error() string {
	if len(e.Errors) == 0 {
		return fmt.Sprintf("%s (%d)", e.Status.Description, e.Status.Code)
	}
	var b strings.Builder
	for i, p := range e.Errors {
		if i > 0 {
			b.WriteString("; ")
		}
		b.WriteString(p.Parameter + " " + p.Error)
	}
	return b.String()
}

// do sends a request and hands over a successful answer's body, which the caller closes.
func (c *adminClient) do(ctx context.Context, method, path string, body io.Reader) (io.ReadCloser,
	error,
) {
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, body)
	if err != nil {
		return nil, err
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	res, err := c.http.Do(req)
	if errors.Is(err, syscall.ECONNREFUSED) {
		return nil, fmt.Errorf("no service answers at %s: start it with trackchat serve, "+
			"or say where it is with --config FILE or --admin URL", c.base)
	}
	if err != nil {
		return nil, err
	}
	if res.StatusCode == http.StatusOK {
		return res.Body, nil
	}
	defer func() { _ = res.Body.Close() }() // read as far as it matters
	var refused adminError
	if err := json.NewDecoder(io.LimitReader(res.Body, maxAnswer)).Decode(&refused); err != nil ||
		refused.Status.Description == "" {
		return nil, fmt.Errorf("%s answers %s", c.base, res.Status)
	}
	return nil, &refused
}

// show sends a request and writes what the answer holds, indented.
func (c *adminClient) show(ctx context.Context, method, path string, body io.Reader,
	out io.Writer,
) error {
	answer, err := c.do(ctx, method, path, body)
	if err != nil {
		return err
	}
	defer func() { _ = answer.Close() }() // read to its end
	var members map[string]json.RawMessage
	if err := json.NewDecoder(answer).Decode(&members); err != nil {
		return fmt.Errorf("reading the answer: %w", err)
	}
	for _, name := range []string{"value", "list", "result"} {
		if v, ok := members[name]; ok {
			return writeIndented(out, v)
		}
	}
	return nil
}

// writeIndented writes a value of an answer; a text without its quotes.
func writeIndented(out io.Writer, value json.RawMessage) error {
	var b bytes.Buffer
	if err := json.Indent(&b, value, "", "  "); err != nil {
		return fmt.Errorf("reading the answer: %w", err)
	}
	_, err := fmt.Fprintln(out, strings.Trim(b.String(), `"`))
	return err
}

// errRefused says that an import refused lines, which are named already.
var errRefused = errors.New("lines are refused")

// importLines sends NDJSON and tells what became of it.
func (c *adminClient) importLines(ctx context.Context, in io.Reader, out,
	progress io.Writer,
) error {
	answer, err := c.do(ctx, http.MethodPost, "/admin/import", in)
	if err != nil {
		return err
	}
	defer func() { _ = answer.Close() }() // read to its end
	for d := json.NewDecoder(answer); ; {
		var line struct {
			adminError
			Progress *struct{ Lines int }
			Success  *bool
			Summary  *importSummary
		}
		if err := d.Decode(&line); err != nil {
			return fmt.Errorf("reading the answer: %w", err)
		}
		if line.Progress != nil {
			_, _ = fmt.Fprintf(progress, "%d lines\n", line.Progress.Lines)
			continue
		}
		if line.Summary != nil {
			line.Summary.print(out)
		}
		switch {
		case line.Success == nil || !*line.Success:
			return &line.adminError
		case len(line.Summary.Refused) > 0 || line.Summary.Stopped != "":
			return errRefused
		}
		return nil
	}
}

// importSummary is what the service says at the end of an import.
type importSummary struct {
	Lines              int
	Accounts, Trackers struct{ Added, Updated, Unchanged int }
	Refused            []struct {
		Line   int
		Errors []struct{ Parameter, Error string }
	}
	Stopped string
}

func (s *importSummary) print(out io.Writer) {
	for _, r := range s.Refused {
		for _, e := range r.Errors {
			_, _ = fmt.Fprintf(out, "line %d: %s %s\n", r.Line, e.Parameter, e.Error)
		}
	}
	if s.Stopped != "" {
		_, _ = fmt.Fprintf(out, "stopped: %s\n", s.Stopped)
	}
	_, _ = fmt.Fprintf(out,
		"%d lines; accounts: %d added, %d updated, %d unchanged; trackers: %d added, %d updated, %d unchanged; %d lines refused\n", s.Lines,
		s.Accounts.Added, s.Accounts.Updated, s.Accounts.Unchanged, s.Trackers.Added,
		s.Trackers.Updated, s.Trackers.Unchanged, len(s.Refused))
}
