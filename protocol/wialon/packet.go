package wialon

import (
	"bytes"
	"fmt"

	"trackchat/protocol"
)

// Packet types: the letters, packed with the last one lowest, so that they can be compared and
// written without a string.
const (
	typeL  = 'L'          // login
	typeP  = 'P'          // ping
	typeSD = 'S'<<8 | 'D' // short data
	typeD  = 'D'          // extended data
	typeB  = 'B'          // black box
	typeM  = 'M'          // message from or to the driver
	typeAM = 'A'<<8 | 'M' // answer to a message
	typeI  = 'I'          // block of an image
	typeIT = 'I'<<8 | 'T' // what tachograph file follows
	typeT  = 'T'          // block of a tachograph file
	typeAL = 'A'<<8 | 'L' // server's answers
	typeUS = 'U'<<8 | 'S' // firmware, from the server
	typeUC = 'U'<<8 | 'C' // configuration, from the server
	typeLV = 'L'<<8 | 'V' // live video, 2.1
	typePB = 'P'<<8 | 'B' // playback, 2.1
	typeVF = 'V'<<8 | 'F' // video file, 2.1

	maxTypeLetters = 4 // 3 in 2.0, 4 fit the number
	maxID          = 64
)

// packet is one line, taken apart: [[2.x;]id]#type#msg.
type packet struct {
	typ uint32
	// what stands before the first #: the form for UDP, which names the device with every packet.
	id      []byte
	version version
	msg     []byte // all after the second #
}

// parsePacket takes a line without its end apart. ok is false for a line that is no packet.
func parsePacket(line []byte) (p packet, ok bool) {
	id, rest, found := bytes.Cut(line, []byte{'#'})
	if !found {
		return p, false
	}
	typ, msg, found := bytes.Cut(rest, []byte{'#'})
	if !found || len(typ) == 0 || len(typ) > maxTypeLetters {
		return p, false
	}
	for _, c := range typ {
		if c < 'A' || c > 'Z' {
			return p, false
		}
		p.typ = p.typ<<8 | uint32(c)
	}
	p.msg = msg
	if len(id) == 0 {
		return p, true
	}
	p.version = version1
	if v, after, found := bytes.Cut(id, []byte{';'}); found {
		if !isVersion2(v) {
			return p, false
		}
		p.version, id = version2, after
	}
	p.id = id
	return p, validID(id)
}

func isVersion2(v []byte) bool { return len(v) > 2 && v[0] == '2' && v[1] == '.' }

// validID accepts what devices use as their id: an IMEI, a phone or serial number, a word.
func validID(id []byte) bool {
	if len(id) == 0 || len(id) > maxID {
		return false
	}
	for _, c := range id {
		if c <= ' ' || c > '~' || c == ';' || c == '#' {
			return false
		}
	}
	return true
}

// hashID identifies a device id; leading zeros do not count. It is never 0.
func hashID(id []byte) uint64 {
	return max(hash(hashSeed, bytes.TrimLeft(id, "0")), 1)
}

// The hash is FNV-1a of 64 bits: the same on every node and after every restart.
const (
	hashSeed  = 14695981039346656037
	hashPrime = 1099511628211
)

func hash[T string | []byte](h uint64, b T) uint64 {
	for i := range len(b) {
		h = (h ^ uint64(b[i])) * hashPrime
	}
	return h
}

// withoutCRC returns msg without its CRC and the separator before it. In 1.1 there is none; in 2.0
// there must be one that fits; before a login it is one where it fits, and it is a wrong one where
// surplus says that the message has one field too many and that field could be a CRC.
func withoutCRC(msg []byte, separator byte, v version, surplus bool) (body []byte, err error) {
	if v == version1 {
		return msg, nil
	}
	i := bytes.LastIndexByte(msg, separator)
	want, isCRC := parseCRC(msg[i+1:])
	isCRC = isCRC && i >= 0
	switch {
	case isCRC && protocol.CRC16(0, msg[:i+1]) == want:
		return msg[:i], nil
	case v == version2 && !isCRC:
		return nil, fmt.Errorf("%w: none at the end", protocol.ErrChecksum)
	case v == version2, surplus && isCRC:
		return nil, fmt.Errorf("%w: %04X instead of %04X", protocol.ErrChecksum, want,
			protocol.CRC16(0, msg[:i+1]))
	}
	return msg, nil
}
