package egts

import "trackchat/protocol"

// code is a result of processing (EGTS_PC_…): of a packet (PR), of a record (RST) or of the
// authorisation (RCD). Up to 127 all is well.
type code byte

const (
	codeOK           code = 0
	codeInProgress   code = 1
	codeEncrypted    code = 129 // DECRYPT_ERROR
	codeHeaderForm   code = 131 // INC_HEADERFORM
	codeDataForm     code = 132 // INC_DATAFORM
	codeType         code = 133 // UNS_TYPE
	codeTwice        code = 135 // DBL_PROC: this packet or record was processed before
	codeHeaderCRC    code = 137 // HEADERCRC_ERROR
	codeDataCRC      code = 138 // DATACRC_ERROR
	codeLength       code = 139 // INVDATALEN
	codeNoService    code = 148 // SRVC_NFOUND
	codeServiceOff   code = 149 // SRVC_DENIED
	codeServiceOther code = 150 // SRVC_UNKN
	codeDenied       code = 151 // AUTH_DENIED
	codeNotFound     code = 153 // ID_NFOUND

	firstError code = 128
)

// resultCode is how a record fared.
func resultCode(r protocol.Result) code {
	switch r {
	case protocol.OK:
		return codeOK
	case protocol.NoLogin:
		return codeServiceOff
	case protocol.UnknownDevice:
		return codeNotFound
	case protocol.BadCredentials:
		return codeDenied
	default:
		return codeDataForm
	}
}

// packetOutcome is what the PR of a RESPONSE says about the text in the packet.
func packetOutcome(c code) protocol.Outcome {
	switch {
	case c < firstError, c == codeTwice:
		return protocol.Linked
	case c == codeHeaderCRC, c == codeDataCRC:
		return protocol.AckDamaged
	}
	return refusal(c)
}

// recordOutcome is what the RST of a RECORD_RESPONSE says about the text in the record. taken is
// the outcome of a text that the command service took.
func recordOutcome(c code, taken protocol.Outcome) protocol.Outcome {
	switch {
	case c == codeOK, c == codeTwice:
		return taken
	case c == codeInProgress:
		return protocol.Accepted
	case c < firstError:
		return 0
	}
	return refusal(c)
}

func refusal(c code) protocol.Outcome {
	switch c {
	case codeNoService, codeServiceOff, codeServiceOther:
		return protocol.AckUnsupported
	default:
		return protocol.AckRejected
	}
}
