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
	"strconv"
)

const adminUsage = `  trackchat tracker list|get|put|move|delete|import|export …
  trackchat account list|get|put|delete|import|export …
  trackchat user list|create|put|delete …
  trackchat key list|create|delete …          administer a running service, see
                                              trackchat tracker --help
`

const adminHelp = `usage: trackchat tracker|account|user|key COMMAND [ARGUMENTS] [--config FILE] [--admin URL]

  tracker list [--after ID] [--limit N]    account list …    ordered by id
  tracker get ID                           account get ID
  tracker put ID [FILE]                    account put ID [FILE]
      an object in the shape of directory.yaml as JSON, from FILE or the standard input
  tracker move ID ACCOUNT [--history H]
      into another account, with its messages: keep (the account that had it keeps them, the
      default), move (they go along) or drop (they are removed)
  tracker delete ID                        account delete ID
      a tracker's messages are removed with it; an account must have no trackers
  tracker import [FILE]                    account import [FILE]
      lines {"account":{…}} and {"tracker":{…}} (NDJSON), the same for both
  tracker export                           account export
      everything, as import takes it, the same for both
  user list ACCOUNT                        who logs in beside the account itself
  user create ACCOUNT [FILE]               prints the id of the new user
  user put ACCOUNT ID [FILE]
      login, name, role (viewer, dispatcher or manager), locale and password as JSON, from FILE or
      the standard input; without a password the user keeps the one that he has
  user delete ACCOUNT ID
  key list ACCOUNT                         ids, and what else is known of each key
  key create ACCOUNT [--name NAME] [--role ROLE] [--end TIME]
      prints the key, which cannot be shown again, and its id
  key delete ID
      ID is that of the key, not the key

`

// errUsage says that a command line makes no sense.
var errUsage = errors.New("unknown command or wrong number of arguments")

// adminCommand is one administrative command line.
type adminCommand struct {
	noun           string // tracker, account, user or key
	client         *adminClient
	args           []string // the verb and its arguments
	after, limit   *int64
	history        *string
	details        keyDetails
	stdin          io.Reader
	stdout, stderr io.Writer
}

// keyDetails are what a new key is told to be.
type keyDetails struct {
	Name string `json:"name,omitempty"`
	Role string `json:"role,omitempty"`
	End  string `json:"end,omitempty"`
}

// administer runs trackchat tracker, account, user or key.
func administer(ctx context.Context, noun string, args []string, stdout, stderr io.Writer) int {
	fs := flag.NewFlagSet("trackchat "+noun, flag.ContinueOnError)
	fs.SetOutput(stderr)
	fs.Usage = func() {
		_, _ = io.WriteString(stderr, adminHelp)
		fs.PrintDefaults()
	}
	flags := newAdminFlags(fs)
	c := &adminCommand{noun: noun, stdin: os.Stdin, stdout: stdout, stderr: stderr}
	c.after = fs.Int64("after", 0, "list only greater ids than `ID`")
	c.limit = fs.Int64("limit", 100, "list at most `N`, up to 1000")
	c.history = fs.String("history", "", "for tracker move: `keep`, move or drop")
	fs.StringVar(&c.details.Name, "name", "", "for key create: `NAME`, shown as who wrote a text")
	fs.StringVar(&c.details.Role, "role", "",
		"for key create: `ROLE` manager (the default), dispatcher or viewer")
	fs.StringVar(&c.details.End, "end", "",
		"for key create: from `TIME` on it is no key any more, such as 2030-01-01T00:00:00Z")
	var err error
	if c.args, err = parseAnywhere(fs, args); err != nil {
		return flagExit(err)
	}
	if c.client, err = flags.client(); err == nil {
		err = c.run(ctx)
	}
	switch {
	case errors.Is(err, errUsage):
		_, _ = fmt.Fprintf(stderr, "trackchat %s: %v\n%s", noun, err, adminHelp)
		return 2
	case err != nil:
		_, _ = fmt.Fprintf(stderr, "trackchat %s: %v\n", noun, err)
		return 1
	}
	return 0
}

// parseAnywhere parses flags that stand before, between or after the arguments.
func parseAnywhere(fs *flag.FlagSet, args []string) (rest []string, err error) {
	for len(args) > 0 {
		if err := fs.Parse(args); err != nil {
			return nil, err
		}
		if args = fs.Args(); len(args) > 0 {
			rest, args = append(rest, args[0]), args[1:]
		}
	}
	return rest, nil
}

func (c *adminCommand) run(ctx context.Context) error {
	if len(c.args) == 0 {
		return errUsage
	}
	verb, args := c.args[0], c.args[1:]
	switch c.noun {
	case "key":
		return c.key(ctx, verb, args)
	case "user":
		return c.user(ctx, verb, args)
	}
	path := "/admin/" + c.noun + "s"
	switch {
	case verb == "list" && len(args) == 0:
		return c.client.show(ctx, http.MethodGet, fmt.Sprintf("%s?after=%d&limit=%d", path,
			*c.after, *c.limit), nil, c.stdout)
	case verb == "get" && len(args) == 1:
		return c.client.show(ctx, http.MethodGet, path+"/"+url.PathEscape(args[0]), nil, c.stdout)
	case verb == "delete" && len(args) == 1:
		return c.client.show(ctx, http.MethodDelete, path+"/"+url.PathEscape(args[0]), nil,
			c.stdout)
	case verb == "put" && len(args) > 0 && len(args) <= 2:
		return c.input(args[1:], func(in io.Reader) error {
			return c.client.show(ctx, http.MethodPut, path+"/"+url.PathEscape(args[0]), in,
				c.stdout)
		})
	case verb == "move" && len(args) == 2 && c.noun == "tracker":
		return c.move(ctx, path+"/"+url.PathEscape(args[0]), args[1])
	case verb == "import" && len(args) <= 1:
		return c.input(args, func(in io.Reader) error {
			return c.client.importLines(ctx, in,
				c.stdout, c.stderr)
		})
	case verb == "export" && len(args) == 0:
		return c.export(ctx)
	default:
		return errUsage
	}
}

// move puts a tracker as it is into another account.
func (c *adminCommand) move(ctx context.Context, path, account string) error {
	id, err := strconv.ParseInt(account, 10, 64)
	if err != nil {
		return fmt.Errorf("account %q is not an id", account)
	}
	answer, err := c.client.do(ctx, http.MethodGet, path, nil)
	if err != nil {
		return err
	}
	defer func() { _ = answer.Close() }() // read to its end
	var tracker struct{ Value map[string]any }
	d := json.NewDecoder(answer)
	d.UseNumber() // ids stay exact
	if err := d.Decode(&tracker); err != nil {
		return fmt.Errorf("reading the answer: %w", err)
	}
	tracker.Value["account"] = id
	delete(tracker.Value, "group_id") // a group is one of the account that it leaves
	delete(tracker.Value, "tags")
	if *c.history != "" {
		tracker.Value["history"] = *c.history
	}
	object, err := json.Marshal(tracker.Value)
	if err != nil {
		return err
	}
	return c.client.show(ctx, http.MethodPut, path, bytes.NewReader(object), c.stdout)
}

func (c *adminCommand) key(ctx context.Context, verb string, args []string) error {
	switch {
	case verb == "list" && len(args) == 1:
		return c.showOf(ctx, args[0], "keys")
	case verb == "create" && len(args) == 1:
		details, err := json.Marshal(c.details)
		if err != nil {
			return err
		}
		return c.client.show(ctx, http.MethodPost, accountPath(args[0])+"/keys",
			bytes.NewReader(details), c.stdout)
	case verb == "delete" && len(args) == 1:
		return c.client.show(ctx, http.MethodDelete, "/admin/keys/"+url.PathEscape(args[0]), nil,
			c.stdout)
	default:
		return errUsage
	}
}

func (c *adminCommand) user(ctx context.Context, verb string, args []string) error {
	send := func(method, path string, names []string) error {
		return c.input(names, func(in io.Reader) error {
			return c.client.show(ctx, method, path, in, c.stdout)
		})
	}
	switch {
	case verb == "list" && len(args) == 1:
		return c.showOf(ctx, args[0], "users")
	case verb == "create" && (len(args) == 1 || len(args) == 2):
		return send(http.MethodPost, accountPath(args[0])+"/users", args[1:])
	case verb == "put" && (len(args) == 2 || len(args) == 3):
		return send(http.MethodPut, accountPath(args[0])+"/users/"+url.PathEscape(args[1]),
			args[2:])
	case verb == "delete" && len(args) == 2:
		return c.client.show(ctx, http.MethodDelete,
			accountPath(args[0])+"/users/"+url.PathEscape(args[1]), nil, c.stdout)
	default:
		return errUsage
	}
}

func accountPath(id string) string { return "/admin/accounts/" + url.PathEscape(id) }

// showOf writes one of the lists of an account.
func (c *adminCommand) showOf(ctx context.Context, account, list string) error {
	answer, err := c.client.do(ctx, http.MethodGet, accountPath(account), nil)
	if err != nil {
		return err
	}
	defer func() { _ = answer.Close() }() // read to its end
	var members struct{ Value map[string]json.RawMessage }
	if err := json.NewDecoder(answer).Decode(&members); err != nil {
		return fmt.Errorf("reading the answer: %w", err)
	}
	text := members.Value[list]
	if text == nil {
		text = []byte("[]")
	}
	return writeIndented(c.stdout, text)
}

// input opens the file that is named, if any, or takes the standard input.
func (c *adminCommand) input(names []string, use func(io.Reader) error) error {
	if len(names) == 0 || names[0] == "-" {
		return use(io.NopCloser(c.stdin))
	}
	f, err := os.Open(names[0])
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // only read
	return use(f)
}

// export writes everything, or fails: half of it does not look like the whole.
func (c *adminCommand) export(ctx context.Context) error {
	lines, err := c.client.do(ctx, http.MethodGet, "/admin/export", nil)
	if err != nil {
		return err
	}
	defer func() { _ = lines.Close() }() // read to its end
	if _, err := io.Copy(c.stdout, lines); err != nil {
		return fmt.Errorf("the export is not complete: %w", err)
	}
	return nil
}
