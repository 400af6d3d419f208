package egts

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strconv"

	"trackchat/protocol"
)

// Flags of TERM_IDENTITY: which optional fields follow TID and the flags, in this order; SSRA has
// none.
const (
	identityHDID   = 1 << 0
	identityIMEI   = 1 << 1
	identityIMSI   = 1 << 2
	identityLNGC   = 1 << 3
	identityNID    = 1 << 5
	identityBS     = 1 << 6
	identityMSISDN = 1 << 7

	imeiDigits = 15
)

// identity is what TERM_IDENTITY says of a terminal.
type identity struct {
	tid  uint32
	imei []byte // digits; nil: none
	bs   uint16 // most bytes of a packet to the terminal; 0: not said
}

func parseIdentity(sub []byte) (id identity, err error) {
	if len(sub) < 5 {
		return id, fmt.Errorf("%w: identity of %d bytes", protocol.ErrMalformed, len(sub))
	}
	id.tid = binary.LittleEndian.Uint32(sub)
	flags, rest := sub[4], sub[5:]
	for _, field := range [...]struct {
		flag byte
		size int
	}{
		{identityHDID, 2},
		{identityIMEI, imeiDigits},
		{identityIMSI, 16},
		{identityLNGC, 3},
		{identityNID, 3},
		{identityBS, 2},
		{identityMSISDN, 15},
	} {
		if flags&field.flag == 0 {
			continue
		}
		if len(rest) < field.size {
			return id, fmt.Errorf("%w: identity with flags %02x in %d bytes", protocol.ErrMalformed,
				flags, len(sub))
		}
		switch field.flag {
		case identityIMEI:
			id.imei = digits(rest[:field.size])
		case identityBS:
			id.bs = binary.LittleEndian.Uint16(rest)
		}
		rest = rest[field.size:]
	}
	return id, nil
}

// digits returns an IMEI without padding, nil where it is none: terminals that do not know theirs
// fill the field with zeros or spaces.
func digits(field []byte) []byte {
	field = bytes.Trim(field, " \x00")
	known := false
	for _, c := range field {
		if c < '0' || c > '9' {
			return nil
		}
		known = known || c != '0'
	}
	if !known {
		return nil
	}
	return field
}

// deviceID is what the terminal is known by, empty where it does not say it.
func (id *identity) deviceID(by string) string {
	switch {
	case by != loginByTID && id.imei != nil:
		return string(id.imei)
	case by == loginByIMEI, id.tid == 0:
		return ""
	}
	return strconv.FormatUint(uint64(id.tid), 10)
}

// alias is what else the terminal may be known by, empty where that is nothing.
func (id *identity) alias(by string) string {
	if by != loginByAuto || id.imei == nil {
		return ""
	}
	return id.deviceID(loginByTID)
}
