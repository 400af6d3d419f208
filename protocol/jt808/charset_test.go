package jt808_test

import (
	"encoding/binary"
	"strings"
	"testing"
	"time"

	"trackchat/protocol"
)

// What a terminal calls GBK, or does not name, may be UTF-8, and the other way round.
func TestTextsWithoutANamedCharset(t *testing.T) {
	const gbk, utf8 = "gbk", "utf8"
	for _, c := range []struct{ set, body, want string }{
		{gbk, "\xbb\xf5\xce\xef", "货物"},
		{gbk, "OK 10 min", "OK 10 min"},
		{gbk, "返回:收到", "返回:收到"},
		{gbk, "好", "好"},
		{gbk, "中国", "中国"},
		{gbk, "Привет, где ты?", "Привет, где ты?"},
		{gbk, "Płońsk", "Płońsk"},
		{gbk, "Çağrı", "Çağrı"},
		{gbk, "👍", "👍"},
		{gbk, "\xd2\xbb\xb5\xe3", "一点"},
		{gbk, "\xd2\xbb", "一"},          // valid UTF-8 as well, but likely GBK
		{gbk, "\xc1\xaa\xcd\xa8", "联通"}, // looks like UTF-8 that is too long
		{gbk, "\xa7\xa5\xa7\xd1", "Да"},
		{gbk, "\xe9\x46", "镕"}, // beyond GB 2312
		{gbk, "\x94\x39\xda\x33", "💩"},
		{utf8, "\xd2\xbb", "һ"},
		{utf8, "на", "на"},
		{utf8, "\xbb\xf5\xce\xef", "货物"}, // cannot be UTF-8
		{utf8, "OK", "OK"},
	} {
		codec := loggedIn(t, map[string]string{"charset": c.set})
		bodies := []string{"\x00" + c.body}
		if c.body[0] > 2 {
			bodies = append(bodies, c.body)
		}
		for _, body := range bodies {
			events, reply, err := receive(codec, frame(0x6006, 9, []byte(body)))
			if err != nil || events[0].Text != c.want || unframe(t, reply)[0].body[4] != 0 {
				t.Errorf("%q in %s became %+v, % x, %v", body, c.set, events, reply, err)
			}
		}
	}
}

// overstated writes a 0x6006 whose header says a length that is off by less.
func overstated(serial uint16, body string, less int, part ...uint16) []byte {
	raw := binary.BigEndian.AppendUint16([]byte{0x60, 0x06}, uint16(len(body)-less))
	if len(part) > 0 {
		raw[2] |= 0x20
	}
	raw = binary.BigEndian.AppendUint16(append(raw, phone2013...), serial)
	for _, n := range part {
		raw = binary.BigEndian.AppendUint16(raw, n)
	}
	raw = append(raw, body...)
	sum := byte(0)
	for _, b := range raw {
		sum ^= b
	}
	return flagged(append(raw, sum))
}

func TestLengthWithoutTheEncodingByte(t *testing.T) {
	codec := loggedIn(t, nil)
	events, _, err := receive(codec, overstated(2, "\x02收到", 1))
	if err != nil || events[0].Text != "收到" {
		t.Errorf("%+v, %v", events, err)
	}
	if _, _, err = receive(codec, overstated(3, "\x00first ", 1, 2, 1)); err != nil {
		t.Error(err)
	}
	events, _, err = receive(codec, overstated(4, "second", 0, 2, 2))
	if err != nil || events[0].Text != "first second" {
		t.Errorf("in parts: %+v, %v", events, err)
	}
	for name, f := range map[string][]byte{
		"two short":             overstated(5, "\x00text", 2),
		"one long":              overstated(5, "\x00text", -1),
		"short in a later part": overstated(5, "text", 1, 2, 2),
	} {
		events, reply, err := receive(codec, f)
		m := unframe(t, reply)
		if err == nil || len(events) != 1 || events[0].Kind != protocol.KindRefused ||
			m[0].body[4] != 2 {
			t.Errorf("%s: %+v, %+v, %v", name, events, m, err)
		}
	}
}

func TestTextsToATerminalThatShowsUTF8(t *testing.T) {
	codec := loggedIn(t, map[string]string{
		"charset": "utf8", "events": "1=Да;2=" + strings.Repeat("货", 100) + ";3=OK",
	})
	menu, _ := codec.Poll(nil, time.Unix(0, 0))
	if m := unframe(t, menu); len(m) != 1 || string(m[0].body) != "\x01\x02\x01\x04Да\x03\x02OK" {
		t.Errorf("menu %+v: what has no room in UTF-8 is left out", m)
	}
	text, err := codec.AppendText(nil, protocol.Text{Ref: 7, Parts: 1, Body: "ł👍"})
	if m := unframe(t, text); err != nil || string(m[0].body) != "\x04ł👍" {
		t.Errorf("%+v, %v", m, err)
	}
	question, err := codec.AppendText(nil, protocol.Text{
		Ref: 8, Parts: 1, Body: "ł?", Choices: []string{"да"},
	})
	if m := unframe(t, question); err != nil || string(m[0].body) != "\x00\x03ł?\x01\x00\x04да" {
		t.Errorf("%+v, %v", m, err)
	}
	if caps := codec.Caps(); caps.Charset.Lossy('👍') || caps.Charset.RuneLen('货') != 3 {
		t.Errorf("%+v", caps)
	}
}
