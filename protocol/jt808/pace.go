package jt808

import "time"

// maxFrameGap bounds frame_gap: with longer pauses answers would come too late.
const maxFrameGap = 5000

// FrameGap implements protocol.Spacer.
func (c *codec) FrameGap() time.Duration {
	return time.Duration(c.settings.Int(settingFrameGap)) * time.Millisecond
}
