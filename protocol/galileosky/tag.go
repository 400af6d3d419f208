package galileosky

import "encoding/binary"

// Tags that matter for chat.
const (
	tagHardware = 0x01
	tagFirmware = 0x02
	tagIMEI     = 0x03 // 15 digits
	tagID       = 0x04 // u16
	tagRecord   = 0x10
	tagTime     = 0x20
	tagPosition = 0x30
	tagSpeed    = 0x33
	tagNumber   = 0xE0 // of a command u32
	tagCommand  = 0xE1 // length u8, text; also that of the answer

	imeiDigits = 15
)

// tags is what a packet says.
type tags struct {
	imei      []byte
	id        uint16
	hasID     bool
	positions int
	number    uint32
	hasNumber bool
	command   []byte
	hasText   bool
	more      bool // anything but who the device is
}

// size returns how many bytes the value of a tag takes, 0 for a tag whose size is not known for
// certain. b is what follows the tag.
func size(tag byte, b []byte) int {
	switch {
	case tag == tagIMEI:
		return imeiDigits
	case tag == tagPosition:
		return 9
	case tag == tagCommand, tag == 0xEA: // user data
		if len(b) == 0 {
			return 0
		}
		return 1 + int(b[0])
	case tag == 0x5C: // pressure in tyres
		return 68
	case in(tag, 0x01, 0x02), in(tag, 0xA0, 0xAF), in(tag, 0xC4, 0xD2), in(tag, 0x8A, 0x8C):
		return 1
	case tag == 0x35, tag == 0x43, tag == 0x88, tag == 0xD5:
		return 1
	case in(tag, 0x40, 0x42), in(tag, 0x50, 0x59), in(tag, 0x60, 0x62), in(tag, 0x70, 0x77),
		in(tag, 0xB0, 0xB9), in(tag, 0xD6, 0xDA):
		return 2
	case tag == tagID, tag == tagRecord, tag == 0x34, in(tag, 0x45, 0x46), tag == 0x48:
		return 2
	case in(tag, 0x63, 0x6F), tag == 0x5D:
		return 3
	case tag == tagTime, tag == tagSpeed, tag == 0x44, tag == 0x47, tag == 0x5A, tag == 0x90:
		return 4
	case in(tag, 0xC0, 0xC3), in(tag, 0xD3, 0xD4), in(tag, 0xDB, 0xE0), in(tag, 0xE2, 0xE9),
		in(tag, 0xF0, 0xF9):
		return 4
	default:
		return 0
	}
}

func in(tag, from, to byte) bool { return from <= tag && tag <= to }

// parse reads the tags of a packet up to the first one whose size is unknown; what comes behind
// that is passed over.
func parse(b []byte) (t tags) {
	for len(b) > 0 {
		tag := b[0]
		n := size(tag, b[1:])
		if n == 0 || len(b) < 1+n {
			t.more = true
			return t
		}
		value := b[1 : 1+n]
		b = b[1+n:]
		switch tag {
		case tagHardware, tagFirmware:
		case tagIMEI:
			if isDigits(value) {
				t.imei = value
			}
		case tagID:
			t.id, t.hasID = binary.LittleEndian.Uint16(value), true
		case tagPosition:
			t.positions++
			t.more = true
		case tagNumber:
			t.number, t.hasNumber, t.more = binary.LittleEndian.Uint32(value), true, true
		case tagCommand:
			t.command, t.hasText, t.more = value[1:], true, true
		default:
			t.more = true
		}
	}
	return t
}

func isDigits(b []byte) bool {
	for _, c := range b {
		if c < '0' || c > '9' {
			return false
		}
	}
	return true
}
