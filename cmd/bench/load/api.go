package load

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"trackchat/cmd/bench/ledger"
)

// api is how a stack is asked.
type api interface {
	// request appends the body of a request that sends the text of a number to so many devices,
	// one after the other.
	request(dst []byte, seq int64, device, batch int) (path string, body []byte)
	// readBack says how to read the statuses of the texts that wait for theirs, in pieces that may
	// be asked at the same time.
	readBack(begin int64, from int) []query
}

// query reads some statuses and notes them in the ledger.
type query func(ctx context.Context, c *client) error

var errStatus = errors.New("the statuses could not be read")

// idOf finds the number after "id" in an answer; 0: none.
func idOf(answer []byte) (id int64) {
	_, rest, _ := bytes.Cut(answer, []byte(`"id":`))
	for _, digit := range rest {
		if digit < '0' || digit > '9' {
			break
		}
		id = id*10 + int64(digit-'0')
	}
	return id
}

// frontAPI is that of a peer's front.
type frontAPI struct{ ledger *ledger.Ledger }

// idsAtOnce is how many statuses a front is asked for with one request.
const idsAtOnce = 500

func (a frontAPI) request(dst []byte, seq int64, device, _ int) (string, []byte) {
	dst = strconv.AppendInt(append(dst, `{"device":`...), int64(device), 10)
	dst = a.ledger.AppendText(append(dst, `,"message":"`...), seq)
	return "/send", append(dst, `"}`...)
}

func (a frontAPI) readBack(begin int64, from int) (queries []query) {
	var seqs, ids []int64
	flush := func() {
		if seqs != nil {
			s, i := seqs, ids
			queries = append(queries, func(ctx context.Context, c *client) error {
				return a.read(ctx, c, s, i)
			})
			seqs, ids = nil, nil
		}
	}
	a.ledger.Waiting(begin, from, func(seq int64, _ int, id int64) bool {
		seqs, ids = append(seqs, seq), append(ids, id)
		if len(seqs) == idsAtOnce {
			flush()
		}
		return true
	})
	flush()
	return queries
}

// read asks for the statuses of ids: 1 is delivered.
func (a frontAPI) read(ctx context.Context, c *client, seqs, ids []int64) error {
	body, err := json.Marshal(ids)
	if err != nil {
		return fmt.Errorf("ids: %w", err)
	}
	status, answer, err := c.post(ctx, "/status", body)
	if err != nil {
		return err
	}
	var list []int
	if err := json.Unmarshal(answer, &list); err != nil || status != 200 || len(list) != len(ids) {
		return fmt.Errorf("%w: HTTP %d, %.100q", errStatus, status, answer)
	}
	for i, s := range list {
		a.ledger.Read(seqs[i], s == 1)
	}
	return nil
}

// trackchatAPI is the product's. Device 0 is tracker 1.
type trackchatAPI struct {
	ledger  *ledger.Ledger
	key     string
	devices int
}

// listLimit is how many messages a list has at most.
const listLimit = 1024

func (a trackchatAPI) request(dst []byte, seq int64, device, batch int) (string, []byte) {
	dst = append(append(append(dst, `{"hash":"`...), a.key...), `","message":"`...)
	dst = append(a.ledger.AppendText(dst, seq), `",`...)
	if batch == 1 {
		dst = strconv.AppendInt(append(dst, `"tracker_id":`...), int64(device+1), 10)
		return "/v2/tracker/chat/send", append(dst, '}')
	}
	dst = append(dst, `"trackers":[`...)
	for i := range batch {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = strconv.AppendInt(dst, int64((device+i)%a.devices+1), 10)
	}
	return "/v2/tracker/chat/broadcast", append(dst, "]}"...)
}

func (a trackchatAPI) readBack(begin int64, from int) (queries []query) {
	waiting := make(map[int]int)
	a.ledger.Waiting(begin, from, func(_ int64, device int, _ int64) bool {
		waiting[device]++
		return true
	})
	for device, n := range waiting {
		queries = append(queries, func(ctx context.Context, c *client) error {
			return a.read(ctx, c, device, n)
		})
	}
	return queries
}

// message is one entry of a list.
type message struct {
	ID         int64  `json:"id"`
	SubmitTime string `json:"submit_time"`
	Text       string `json:"text"`
	Status     string `json:"status"`
}

// read lists the messages of a device, the newest first, until n more are delivered or all are
// read.
func (a trackchatAPI) read(ctx context.Context, c *client, device, n int) error {
	next := ""
	for {
		body := fmt.Appendf(nil, `{"hash":%q,"tracker_id":%d,"ascending":false,"limit":%d%s}`,
			a.key, device+1, listLimit, next)
		status, answer, err := c.post(ctx, "/v2/tracker/chat/list", body)
		if err != nil {
			return err
		}
		var page struct {
			Success bool      `json:"success"`
			List    []message `json:"list"`
		}
		if err := json.Unmarshal(answer, &page); err != nil || !page.Success {
			return fmt.Errorf("%w: HTTP %d, %.100q", errStatus, status, answer)
		}
		for i := range page.List {
			m := &page.List[i]
			seq, ours := a.ledger.Find(device, []byte(m.Text))
			if ours && a.ledger.Read(seq, m.Status == "DELIVERED") {
				n--
			}
		}
		if n <= 0 || len(page.List) < listLimit {
			return nil
		}
		last := page.List[len(page.List)-1]
		next = fmt.Sprintf(`,"after_id":%d,"to":%q`, last.ID, last.SubmitTime)
	}
}
