package load

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http/httputil"
	"strconv"
	"time"
)

// requestTimeout bounds a request, its connection's dial included.
const requestTimeout = 20 * time.Second

// client is one HTTP/1.1 connection with one request at a time. It does no more than the benchmark
// needs, so that the generator leaves its core to the devices.
type client struct {
	addr string
	conn net.Conn // nil: to be dialled
	r    *bufio.Reader
	out  []byte
	buf  []byte
}

var errAnswer = errors.New("an answer that is not HTTP/1.1")

// post returns the status and the body, which is valid until the next request.
func (c *client) post(ctx context.Context, path string, body []byte) (int, []byte, error) {
	if err := c.dial(ctx); err != nil {
		return 0, nil, fmt.Errorf("dialling the API: %w", err)
	}
	status, answer, err := c.exchange(path, body)
	if err != nil {
		c.close()
		return 0, nil, fmt.Errorf("asking the API: %w", err)
	}
	return status, answer, nil
}

func (c *client) dial(ctx context.Context) error {
	if c.conn != nil {
		return nil
	}
	conn, err := (&net.Dialer{Timeout: requestTimeout}).DialContext(ctx, "tcp", c.addr)
	if err != nil {
		return err
	}
	c.conn, c.r = conn, bufio.NewReaderSize(conn, 4096)
	return nil
}

func (c *client) close() {
	if c.conn != nil {
		_ = c.conn.Close() // nothing is owed
		c.conn = nil
	}
}

func (c *client) exchange(path string, body []byte) (status int, answer []byte, err error) {
	if err := c.conn.SetDeadline(time.Now().Add(requestTimeout)); err != nil {
		return 0, nil, err
	}
	c.out = append(append(append(c.out[:0], "POST "...), path...), " HTTP/1.1\r\nHost: bench\r\n"...)
	c.out = append(c.out, "Content-Type: application/json\r\nContent-Length: "...)
	c.out = append(strconv.AppendInt(c.out, int64(len(body)), 10), "\r\n\r\n"...)
	if _, err := c.conn.Write(append(c.out, body...)); err != nil {
		return 0, nil, err
	}
	line, err := c.r.ReadSlice('\n')
	if err != nil {
		return 0, nil, err
	}
	words := bytes.Fields(line)
	if len(words) < 2 {
		return 0, nil, errAnswer
	}
	if status, err = strconv.Atoi(string(words[1])); err != nil {
		return 0, nil, errAnswer
	}
	length, chunked, err := c.header()
	if err != nil {
		return 0, nil, err
	}
	if chunked {
		answer, err = io.ReadAll(httputil.NewChunkedReader(c.r))
		if err == nil {
			_, err = c.r.ReadSlice('\n') // the empty line after the last chunk
		}
		return status, answer, err
	}
	if cap(c.buf) < length {
		c.buf = make([]byte, length)
	}
	_, err = io.ReadFull(c.r, c.buf[:length])
	return status, c.buf[:length], err
}

// header reads up to the empty line.
func (c *client) header() (length int, chunked bool, err error) {
	for {
		line, err := c.r.ReadSlice('\n')
		if err != nil {
			return 0, false, err
		}
		line = bytes.TrimSpace(line)
		if len(line) == 0 {
			return length, chunked, nil
		}
		name, value, _ := bytes.Cut(line, []byte{':'})
		switch value = bytes.TrimSpace(value); {
		case bytes.EqualFold(name, []byte("content-length")):
			if length, err = strconv.Atoi(string(value)); err != nil || length < 0 {
				return 0, false, errAnswer
			}
		case bytes.EqualFold(name, []byte("transfer-encoding")):
			chunked = true
		}
	}
}
