package jt808

import (
	"time"

	"trackchat/protocol"
)

// Names of the settings that say who gets in, and how frames leave.
const (
	settingRegister   = "register"
	settingTerminalID = "terminal_id"
	settingFrameGap   = "frame_gap"
)

// maxFrameGap bounds frame_gap, in milliseconds: with longer pauses answers would come too late.
const maxFrameGap = 5000

func linkSettings() []protocol.SettingSpec {
	return []protocol.SettingSpec{
		{
			Name: settingRegister, Default: registerCode,
			Check: protocol.CheckOneOf(registerOpen, registerCode, registerKnown),
			Help: "who gets an authentication code by registering (0x0100) although the tracker has a " +
				"password, which is never handed out itself: " +
				"code = nobody, the password has to be presented; " +
				"known = a terminal that names the tracker's terminal_id; " +
				"open = whoever knows the phone number. " +
				"Such a code is made from the password and logs in as it does",
		},
		{
			Name: settingTerminalID, Default: "",
			Help: "register: known; the terminal id that the registration has to name; empty: none does",
		},
		{
			Name: settingFrameGap, Default: "0", Check: protocol.CheckInt(0, maxFrameGap),
			Help: "milliseconds from one frame to the next one to the terminal, 0 to 5000, for terminals " +
				"that take what one read brings for one frame. " +
				"Counted up to the gateway's tick of 50 ms; 0: frames leave at once",
		},
	}
}

func (c *codec) FrameGap() time.Duration {
	return time.Duration(c.settings.Int(settingFrameGap)) * time.Millisecond
}
