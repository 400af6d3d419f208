package wialon

import "trackchat/protocol"

// parseCRC reads the CRC field: CRC-16/ARC ("CRC16" of Wialon IPS 2.0, appendix 1). Devices write
// it in either case, without leading zeros, and with 0x in front.
func parseCRC(b []byte) (crc uint16, ok bool) {
	if len(b) > 2 && b[0] == '0' && b[1]|0x20 == 'x' {
		b = b[2:]
	}
	if len(b) == 0 || len(b) > 4 {
		return 0, false
	}
	for _, c := range b {
		digit, ok := protocol.HexDigit(c)
		if !ok {
			return 0, false
		}
		crc = crc<<4 | uint16(digit)
	}
	return crc, true
}

// appendCRC appends four capital hexadecimal digits, the high byte first.
func appendCRC(dst []byte, crc uint16) []byte {
	const digits = "0123456789ABCDEF"
	return append(dst, digits[crc>>12], digits[crc>>8&0xF], digits[crc>>4&0xF], digits[crc&0xF])
}
