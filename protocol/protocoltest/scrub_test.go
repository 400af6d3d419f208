package protocoltest

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"regexp"
	"testing"
	"time"
)

func TestScrubberKeepsWhatAFieldIs(t *testing.T) {
	order := binary.BigEndian
	for name, c := range map[string]struct {
		field string
		scrub func(s *Scrubber, b []byte)
		want  string // a pattern for the hexadecimal digits of what comes out
	}{
		"noise": {"00ff7e41", (*Scrubber).Noise, `^00ff7e..$`},
		"text": {
			hex.EncodeToString([]byte("Ab 1;")), (*Scrubber).Text,
			`^(4[1-9a-f]|5[0-9a])(6[1-9a-f]|7[0-9a])203.3b$`,
		},
		"GBK":   {"b2e2d67e", (*Scrubber).Text, `^[bc].[a-f].[bc].7e$`},
		"UTF-8": {hex.EncodeToString([]byte("Ба")), (*Scrubber).Text, `^(d0[9ab].){2}$`},
		"mixed": {
			"0102" + hex.EncodeToString([]byte("AB123")), (*Scrubber).Mixed,
			`(3.){3}$`,
		},
		"phone":       {"000138123456", (*Scrubber).BCD, `^000[1-9]\d{8}$`},
		"packed IMEI": {"0490154203237518", (*Scrubber).PackedIMEI, `^0\d{15}$`},
		"latitude": {"01587d01", func(s *Scrubber, b []byte) {
			s.Number(b, order, 1_000_000, 80_000_000)
		}, `^0[0-4]..7d..$`},
		"no time": {"00000000", func(s *Scrubber, b []byte) {
			s.Clock(b, order, time.Unix(0, 0), time.Second)
		}, `^0{8}$`},
	} {
		t.Run(name, func(t *testing.T) {
			was, err := hex.DecodeString(c.field)
			if err != nil {
				t.Fatal(err)
			}
			changed := false
			for attempt := range 50 {
				var b [2][]byte
				for i := range b {
					b[i] = bytes.Clone(was)
					s := newScrubber(name, attempt)
					s.Keep = "\x7d\x7e"
					c.scrub(s, b[i])
				}
				changed = changed || !bytes.Equal(b[0], was)
				fits := regexp.MustCompile(c.want).MatchString(hex.EncodeToString(b[0]))
				if !bytes.Equal(b[0], b[1]) || !fits {
					t.Fatalf("%x became %x and %x", was, b[0], b[1])
				}
			}
			if changed == blank(was) {
				t.Errorf("%x changed: %v", was, changed)
			}
		})
	}
}

func TestScrubberKeepsTheCheckDigitOfAnIMEI(t *testing.T) {
	for imei, off := range map[string]byte{"490154203237518": 0, "490154203237519": 1} {
		b := []byte(imei)
		if luhn(b) != off {
			t.Fatalf("%s is off by %d", b, luhn(b))
		}
		if newScrubber(imei, 0).Digits(b); string(b) == imei || luhn(b) != off {
			t.Errorf("%s became %s", imei, b)
		}
	}
}

func TestDescriptionsSayNothingOfTheFrame(t *testing.T) {
	for _, c := range []struct{ was, want string }{
		{
			"0x0102 auth; 2013 header, phone 0123456789ab, serial 0, auth code '1 ' 2'",
			"0x0102 auth; 2013 header, serial 0",
		},
		{"login, IMEI 490154203237518 (answer 0x01 accept)", "login (answer 0x01 accept)"},
		{"Codec 12, type 0x06, size 22, payload b'All records'", "Codec 12, type 0x06, size 22"},
		{"RN 2721 flags 0x81 OID 31415926 TELEDATA", "RN 2721 flags 0x81 TELEDATA"},
		{"#D# extended data, CRC16 626B ok", "#D# extended data ok"},
		{`BODY ONLY 0x8301: id1 "123456", id2 "789456"`, "BODY ONLY 0x8301: id1"},
		{"CID=0 CD=0000011501", "CID=0"},
	} {
		if got := plainDescription(c.was); got != c.want {
			t.Errorf("%q became %q", c.was, got)
		}
	}
}

// TestSecretsAreFound holds the check of derived frames to leaks of each kind.
func TestSecretsAreFound(t *testing.T) {
	v := Vector{Description: "phone 013812345678, OID 31415926"}
	secrets := append(described(v), words([]byte("\x00AB12345\x00"))...)
	for _, leak := range []string{
		"\x01\x38\x12\x34\x56\x78", "013812345678", "B12345",
		"\x76\x5e\xdf\x01", "\x01\xdf\x5e\x76", "31415926",
	} {
		found := false
		for _, secret := range secrets {
			found = found || telling(secret) && bytes.Contains([]byte("x"+leak+"y"), secret)
		}
		if !found {
			t.Errorf("%q is not found", leak)
		}
	}
}
