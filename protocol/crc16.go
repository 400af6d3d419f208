package protocol

import "math/bits"

// CRC16 is the CRC with the polynomial 0x8005, reflected, over b. crc is what it starts with: 0
// makes it CRC-16/ARC (check value 0xBB3D), 0xFFFF CRC-16/MODBUS (0x4B37). The usual table for this
// polynomial has a closed form: entry i is i<<6 ^ i<<7, and 0xC001 besides where i has an odd
// number of ones.
func CRC16(crc uint16, b []byte) uint16 {
	for _, c := range b {
		x := byte(crc) ^ c
		i := uint16(x)
		odd := uint16(bits.OnesCount8(x) & 1)
		crc = crc>>8 ^ i<<6 ^ i<<7 ^ odd*0xC001
	}
	return crc
}
