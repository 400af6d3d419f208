package load

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"
	"strconv"
)

// answer is one HTTP answer.
type answer struct {
	status int
	body   []byte
	last   bool // the server closes the connection after it
}

var errAnswer = errors.New("not an HTTP answer")

// cutAnswer takes the first answer off buf; n is 0 while it is incomplete. The usual form, with a
// Content-Length, is read here; everything else by net/http.
func cutAnswer(buf []byte) (a answer, n int, err error) {
	const line = "HTTP/1.1 200"
	if len(buf) >= len(line) && !bytes.HasPrefix(buf, []byte("HTTP/1.")) {
		return a, 0, errAnswer
	}
	end := bytes.Index(buf, []byte("\r\n\r\n"))
	if end < 0 {
		return a, 0, nil
	}
	length := -1
	for header := range bytes.SplitSeq(buf[:end], []byte("\r\n")) {
		name, value, _ := bytes.Cut(header, []byte(":"))
		switch {
		case bytes.EqualFold(name, []byte("Content-Length")):
			if length, err = strconv.Atoi(string(bytes.TrimSpace(value))); err != nil ||
				length < 0 {
				return a, 0, errAnswer
			}
		case bytes.EqualFold(name, []byte("Connection")):
			a.last = bytes.EqualFold(bytes.TrimSpace(value), []byte("close"))
		}
	}
	if length < 0 {
		return otherAnswer(buf)
	}
	body := end + len("\r\n\r\n")
	if len(buf) < body+length {
		return a, 0, nil
	}
	if a.status, err = strconv.Atoi(string(buf[len("HTTP/1.1 "):len(line)])); err != nil {
		return a, 0, errAnswer
	}
	a.body = buf[body : body+length]
	return a, body + length, nil
}

// otherAnswer reads an answer in chunks.
func otherAnswer(buf []byte) (a answer, n int, err error) {
	whole := bytes.NewReader(buf)
	r := bufio.NewReaderSize(whole, 16)
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		return a, 0, errAnswer
	}
	defer func() { _ = resp.Body.Close() }() // it is a buffer
	if resp.ContentLength < 0 && len(resp.TransferEncoding) == 0 {
		return a, 0, errAnswer // its end would be the connection's
	}
	body, err := io.ReadAll(resp.Body)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return a, 0, nil
	}
	if err != nil {
		return a, 0, errAnswer
	}
	return answer{status: resp.StatusCode, body: body, last: resp.Close},
		len(buf) - whole.Len() - r.Buffered(), nil
}
