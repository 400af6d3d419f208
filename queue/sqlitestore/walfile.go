package sqlitestore

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
)

// SQLite's write-ahead log: a header of 32 bytes, then frames, each a header of 24 bytes and a
// page. Checksums run on from frame to frame; frames of an earlier round have other salts. What
// SQLite reads at a start ends with the first frame that is not right, so that damage hides
// everything after it.
const (
	logMagic       = 0x377f0682 // the last bit says which way round the numbers of a checksum are
	logHeader      = 32
	logFrameHeader = 24
)

// logFile is what a write-ahead log holds.
type logFile struct {
	bytes  int64 // 0: there is none
	sound  bool  // its header can be read
	frames int   // that SQLite will read
	// number of the first one that cannot be read although whole transactions come after it, 0
	// none.
	damaged int
	hidden  int // such transactions
}

// scanLog reads a log that nobody writes.
func scanLog(name string) (l logFile, err error) {
	f, err := os.Open(name)
	if errors.Is(err, os.ErrNotExist) {
		return l, nil
	}
	if err != nil {
		return l, fmt.Errorf("opening the write-ahead log: %w", err)
	}
	defer func() { _ = f.Close() }() // only read
	info, err := f.Stat()
	if err != nil {
		return l, fmt.Errorf("looking at the write-ahead log: %w", err)
	}
	l.bytes = info.Size()
	r := bufio.NewReaderSize(f, 1<<20)
	header := make([]byte, logHeader)
	if _, err := io.ReadFull(r, header); err != nil {
		return l, ignoreEnd(err)
	}
	return l, ignoreEnd(l.scan(r, header))
}

func ignoreEnd(err error) error {
	if err == nil || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil
	}
	return fmt.Errorf("reading the write-ahead log: %w", err)
}

func (l *logFile) scan(r io.Reader, header []byte) error {
	magic, page := binary.BigEndian.Uint32(header), binary.BigEndian.Uint32(header[8:])
	var order binary.ByteOrder = binary.LittleEndian
	if magic&1 == 1 {
		order = binary.BigEndian
	}
	sum := logSum{}.add(order, header[:24])
	if magic&^1 != logMagic || page < 512 || page > 65_536 || page&(page-1) != 0 ||
		sum != readSum(header[24:]) {
		return nil
	}
	l.sound = true
	frame := make([]byte, logFrameHeader+page)
	for n := 1; ; n++ {
		if _, err := io.ReadFull(r, frame); err != nil {
			return err
		}
		if string(frame[8:16]) != string(header[16:24]) {
			return nil // of an earlier round, and so is what follows
		}
		got := readSum(frame[16:])
		right := sum.add(order, frame[:8]).add(order, frame[logFrameHeader:]) == got
		switch {
		case right && l.damaged == 0:
			l.frames = n
		case l.damaged == 0:
			l.damaged = n
		case right && binary.BigEndian.Uint32(frame[4:]) > 0: // the last one of a transaction
			l.hidden++
		}
		sum = got
	}
}

// torn reports whether whole transactions come after what SQLite will read. A last one that was
// being written when the power failed is none.
func (l *logFile) torn() bool { return l.hidden > 0 }

// logSum is a checksum of the log.
type logSum [2]uint32

func (s logSum) add(order binary.ByteOrder, b []byte) logSum {
	for ; len(b) >= 8; b = b[8:] {
		s[0] += order.Uint32(b) + s[1]
		s[1] += order.Uint32(b[4:]) + s[0]
	}
	return s
}

func readSum(b []byte) logSum {
	return logSum{binary.BigEndian.Uint32(b), binary.BigEndian.Uint32(b[4:])}
}
