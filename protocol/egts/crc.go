package egts

// crc8 is the header's CRC (polynomial 0x31, initial value 0xFF, check value 0xF7), four bits at a
// time: entry n of the table is what a nibble n leaves behind.
func crc8(b []byte) byte {
	const table = "\x00\x31\x62\x53\xC4\xF5\xA6\x97\xB9\x88\xDB\xEA\x7D\x4C\x1F\x2E"
	crc := byte(0xFF)
	for _, c := range b {
		crc ^= c
		crc = crc<<4 ^ table[crc>>4]
		crc = crc<<4 ^ table[crc>>4]
	}
	return crc
}

// crc16 is CRC-16/CCITT-FALSE, the data's CRC (polynomial 0x1021, initial value 0xFFFF, check value
// 0x29B1). The usual table for this polynomial has a closed form.
func crc16(b []byte) uint16 {
	crc := uint16(0xFFFF)
	for _, c := range b {
		x := crc>>8 ^ uint16(c)
		x ^= x >> 4
		crc = crc<<8 ^ x<<12 ^ x<<5 ^ x
	}
	return crc
}
