package egts

import "trackchat/protocol"

// Names and values of the settings.
const (
	settingLoginBy     = "login_by"
	settingLenient     = "lenient"
	settingDeliveredOn = "delivered_on"
	settingUCS2        = "ucs2"
	settingSID         = "sid"
	settingPartBytes   = "part_bytes"
	settingPartPrefix  = "part_prefix"

	loginByTID  = "tid"
	loginByIMEI = "imei"
	loginByAuto = "auto"

	deliveredOnDeliv  = "deliv"
	deliveredOnRecord = "record"

	orderBig    = "be"
	orderLittle = "le"
)

func settings() []protocol.SettingSpec {
	return []protocol.SettingSpec{
		{
			Name: settingLoginBy, Default: loginByAuto, Check: protocol.CheckOneOf(loginByTID,
				loginByIMEI, loginByAuto), Early: true,
			Help: "what of TERM_IDENTITY is the device id: tid = the terminal's number in decimal, " +
				"imei = its IMEI (a terminal that sends none is unknown), " +
				"auto = its IMEI or its number, whichever the directory has, the IMEI first. " +
				"The standard has no password, so only trackers with an empty one get in",
		},
		{
			Name: settingLenient, Default: "false", Check: protocol.CheckBool, Early: true,
			Help: "take a terminal that never authenticates for the one that its first record names (OID in decimal). Anybody who knows the number can pass for it",
		},
		{
			Name: settingDeliveredOn, Default: deliveredOnDeliv,
			Check: protocol.CheckOneOf(deliveredOnDeliv, deliveredOnRecord),
			Help:  "what counts as delivered: deliv = the terminal's CT_DELIV or CT_MSGCONF, record = already its RECORD_RESPONSE, for terminals that send no more than that; with deliv such a terminal gets every text again and again, max_attempts times",
		},
		{
			Name: settingUCS2, Default: orderBig, Check: protocol.CheckOneOf(orderBig, orderLittle),
			Help: "byte order of texts in UCS2, both ways: be or le",
		},
		{
			Name: settingSID, Default: "0", Check: protocol.CheckInt(0, 1<<31-1),
			Help: "SID of texts to the terminal, the sender's number",
		},
		{
			Name: settingPartBytes, Default: "0", Check: checkPartBytes,
			Help: "most bytes of text in one CT_MSGTO, 32 to 65205; 0: what the packet size that the terminal states (BS, else 1024) leaves, which is a limit in any case",
		},
		{
			Name: settingPartPrefix, Default: "false", Check: protocol.CheckBool,
			Help: "write (2/7) before each part of a longer text",
		},
	}
}

func checkPartBytes(v string) error {
	if v == "0" {
		return nil
	}
	return protocol.CheckInt(32, 65_205)(v)
}
