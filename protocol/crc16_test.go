package protocol_test

import (
	"testing"

	"trackchat/protocol"
)

func TestCRC16CheckValues(t *testing.T) {
	digits := []byte("123456789")
	if arc, modbus := protocol.CRC16(0, digits), protocol.CRC16(0xFFFF, digits); arc != 0xBB3D ||
		modbus != 0x4B37 {
		t.Errorf("ARC %04X, MODBUS %04X", arc, modbus)
	}
}
