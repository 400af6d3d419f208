package fmi

import "encoding/binary"

// Fleet packet ids.
const (
	packetEnable        = 0x0000 // count u8, 0, features u16
	packetAskProtocols  = 0x0001
	packetProduct       = 0x0002 // product u16, version s16
	packetProtocols     = 0x0003 // letter, number s16; for each
	packetAskUnicode    = 0x0004
	packetUnicode       = 0x0005
	packetAnswer        = 0x0020 // time u32, id_size u8, 3 x 0, id, answer u32
	packetTextOK        = 0x0022 // time u32, id_size u8, 3 x 0, id, text
	packetClientText    = 0x0024 // time u32, unique id u32, text
	packetClientReceipt = 0x0025 // unique id u32
	// time u32, lat s32, lon s32, unique id u32, id_size u8, 3 x 0, id, text.
	packetClientReply   = 0x0026
	packetList          = 0x0028 // id_size u8, count u8, u16 0, id, response ids u32
	packetListReceipt   = 0x0029 // id_size u8, result u8, u16 0, id
	packetText          = 0x002A // time u32, id_size u8, type u8, u16 0, id, text
	packetReceipt       = 0x002B // time u32, id_size u8, result u8, u16 0, id
	packetAnswerReceipt = 0x002C // id_size u8, 3 x 0, id
	packetDelete        = 0x002D // id_size u8, 3 x 0, id
	packetDeleted       = 0x002E // id_size u8, result u8, u16 0, id
	packetReply         = 0x0030 // response id u32, text
	packetReplyReceipt  = 0x0032 // response id u32, result u8, 3 x 0
	packetAskStatus     = 0x0040 // id_size u8, 3 x 0, id
	packetStatus        = 0x0041 // id_size u8, status u8, u16 0, id
	// time u32, id_size u8, type u8, finished u8, sequence u8, id, text.
	packetLongText    = 0x0055
	packetLongReceipt = 0x0056 // time u32, id_size u8, result u8, finished u8, sequence u8, id
	packetReport      = 0x0250 // packet id u16, state u16
	packetReported    = 0x0251
	packetPing        = 0x0260
	packetPong        = 0x0261

	packetDriver        = 0x0811 // change id u32, time u32, driver id
	packetDriverReceipt = 0x0812 // change id u32, result u8, index u8, u16 0
	packetDriverA607    = 0x0813 // as 0811, but index u8, 3 x 0 after the time
	packetDuty          = 0x0821 // change id u32, time u32, status u32
	packetDutyReceipt   = 0x0822 // as 0812
	packetDutyA607      = 0x0823 // as 0821, then index u8, 3 x 0
)

// Features of 0000: low 15 bits the number, high bit on.
const (
	featureOn      = 1 << 15
	featureUnicode = 1
	featureA607    = 2
)

// Statuses of 0041.
const (
	statusUnread   = 0
	statusRead     = 1
	statusNotFound = 2
)

const (
	idBytes  = 16
	refChars = 13 // base 32, most significant first, hold 64 bits
	digits   = "0123456789ABCDEFGHIJKLMNOPQRSTUV"
)

// messageID names a text on the client: the reference in base 32 and, where the client has to take
// it for another text than before, one more letter.
type messageID struct {
	size byte
	id   [idBytes]byte
}

// idOf is a pure function of the reference and of how often the text was renamed, so that what the
// client says about it can be matched whenever it comes.
func idOf(ref uint64, renamed byte) messageID {
	m := messageID{size: refChars}
	for i := refChars - 1; i >= 0; i-- {
		m.id[i] = digits[ref&31]
		ref >>= 5
	}
	if renamed > 0 {
		m.id[refChars] = 'a' + renamed - 1
		m.size++
	}
	return m
}

// ours takes a message id apart; ok is false for one that idOf does not make.
func (m messageID) ours() (ref uint64, renamed byte, ok bool) {
	for _, c := range m.id[:refChars] {
		digit := c - '0'
		if c >= 'A' {
			digit = c - 'A' + 10
		}
		ref = ref<<5 | uint64(digit&31)
	}
	if last := m.id[refChars]; last != 0 {
		renamed = last - 'a' + 1
	}
	return ref, renamed, renamed <= maxRenamed && m == idOf(ref, renamed)
}

const maxRenamed = 9

// readID reads id_size u8, three other bytes, id.
func readID(b []byte) messageID {
	m := messageID{size: b[0]}
	copy(m.id[:], b[4:])
	return m
}

// appendIDPacket appends a packet that is nothing but a message id: id_size u8, code u8, u16 0, id.
func appendIDPacket(p []byte, packet uint16, m messageID, code byte) []byte {
	p = binary.LittleEndian.AppendUint16(p, packet)
	p = append(p, m.size, code, 0, 0)
	return append(p, m.id[:]...)
}

// appendText appends the head that all texts and their receipts share: time u32, id_size u8, three
// bytes, id.
func appendTextHead(p []byte, packet uint16, at uint32, m messageID, three [3]byte) []byte {
	p = binary.LittleEndian.AppendUint16(p, packet)
	p = binary.LittleEndian.AppendUint32(p, at)
	p = append(p, m.size, three[0], three[1], three[2])
	return append(p, m.id[:]...)
}

// Response ids of canned answers carry the number of the choice in their last four bits, so that a
// choice can be told without knowing the question; the rest depends on the text, so that the client
// never shows another text for an id that it has stored.
const (
	responseMark = 1 << 30
	responseText = responseMark - 16
)

func responseID(text string, choice int) uint32 {
	return responseMark | uint32(hash(hashSeed, text))&responseText | uint32(choice)
}

// choiceOf returns the number of a choice, from 1; 0 for an answer that is none of our canned ones
// (0 OK, 1 yes, 2 no).
func choiceOf(response uint32) int {
	if choice := int(response & 15); response&responseMark != 0 && choice <= maxChoices {
		return choice
	}
	return 0
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
