package protocol

// refStep is near 2^64 divided by the golden ratio and odd: the references of messages with
// neighbouring numbers lie as far apart as can be, in every width, so that the parts of one message
// (consecutive references) do not run into another recent one.
const refStep = 0x9E3779B97F4A7C15

// Reference is the number under which a part of a message travels: a pure function of the message
// id (its low 8 bits are the partition and count last) and the part (from 0), bits wide (1..64), so
// that an ack can be matched after a restart without anything being stored.
func Reference(id int64, part, bits int) uint64 {
	n := uint64(id)
	n = n>>8 | n<<56
	return ((n*refStep)>>(64-bits) + uint64(part)) & (^uint64(0) >> (64 - bits))
}
