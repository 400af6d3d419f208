package egts

import (
	"encoding/binary"
	"fmt"

	"trackchat/protocol"
)

// Types of COMMAND_DATA (CT).
const (
	commandConfirmed = 1 // CT_COMCONF
	messageConfirmed = 2 // CT_MSGCONF: received, shown or processed
	messageFrom      = 3 // CT_MSGFROM
	messageTo        = 4 // CT_MSGTO
	deleteCommand    = 6 // CT_DELCOM: the text with the same CID is not wanted any more
	messageDelivered = 8 // CT_DELIV
)

// Confirmations (CCT).
const (
	confirmedOK         = 0 // CC_OK
	confirmedError      = 1 // CC_ERROR
	confirmedIllegal    = 2 // CC_ILL: not permitted, or a wrong authorisation code
	confirmedNegative   = 5 // CC_NCONF: done, the answer is no
	confirmedInProgress = 6 // CC_INPROG
)

// commandHead is CT and CCT in one byte, CID, SID: what comes before the flags.
const commandHead = 9

// command is a COMMAND_DATA. A part of a text travels in one and is confirmed by another with the
// same cid.
type command struct {
	kind, confirmed byte
	cid, sid        uint32
	text            []byte // from the flags on
}

func parseCommand(sub []byte) (c command, err error) {
	if len(sub) <= commandHead {
		return c, fmt.Errorf("%w: command of %d bytes", protocol.ErrMalformed, len(sub))
	}
	return command{
		kind: sub[0] >> 4, confirmed: sub[0] & 0x0F,
		cid: binary.LittleEndian.Uint32(sub[1:]), sid: binary.LittleEndian.Uint32(sub[5:]),
		text: sub[commandHead:],
	}, nil
}

// outcome is what a confirmation says about the text with that CID; 0 where it says nothing. taken
// is the outcome of a text that the command service took: some terminals answer with CT_COMCONF, as
// if the text were a command, and when that is well it says no more.
func (c *command) outcome(taken protocol.Outcome) protocol.Outcome {
	switch c.confirmed {
	case confirmedOK, confirmedNegative:
		switch c.kind {
		case messageConfirmed:
			return protocol.AckOpened
		case commandConfirmed:
			return taken
		}
		return protocol.AckDelivered
	case confirmedError, confirmedIllegal:
		return protocol.AckRejected
	case confirmedInProgress:
		return protocol.AckLater
	}
	return 0 // CC_DEL and CC_NFOUND answer CT_DELCOM
}

// appendCommandHead appends what comes before the flags.
func appendCommandHead(dst []byte, kind, confirmed byte, cid, sid uint32) []byte {
	dst = append(dst, kind<<4|confirmed)
	dst = binary.LittleEndian.AppendUint32(dst, cid)
	return binary.LittleEndian.AppendUint32(dst, sid)
}

// Room that a text does not have: packet, record, subrecord, command with flags and CHS.
const textOverhead = shortHeader + checksum + recordHead + subHead + commandHead + 2
