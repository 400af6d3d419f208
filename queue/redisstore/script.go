package redisstore

import (
	"crypto/sha1" //nolint:gosec // the name that Redis gives a script
	"embed"
	"encoding/hex"
	"fmt"
	"strings"
)

//go:embed lua/*.lua
var scriptFiles embed.FS

// script is one Lua script with its includes.
type script struct {
	name string
	text string
	sha  string
}

// scripts are all of them, by name.
type scripts map[string]*script

// scriptNames are the transitions; other files are included by them.
func scriptNames() []string {
	return []string{
		opSend, opReceive, opAck, opFinish, opProgress, opMark, opMarkAll, opAcquire, opRelease,
		opTouch, opKick, opExpire, opTrim,
		scriptBlocks, scriptRemember, scriptSeal, scriptCommit, scriptApply, scriptRoster,
		scriptWebhook, scriptBroadcast,
		scriptDirSeal, scriptDrop, scriptPurge, scriptDropped, scriptPutSession, scriptRenewSession,
		scriptEndSession,
	}
}

const (
	scriptBlocks    = "blocks"
	scriptRemember  = "remember"
	scriptSeal      = "seal"
	scriptCommit    = "commit"
	scriptApply     = "apply"
	scriptWebhook   = "webhook"
	scriptRoster    = "roster"
	scriptBroadcast = "broadcast"
	scriptDirSeal   = "dirseal"
	scriptDrop      = "drop"
	scriptPurge     = "purge"
	scriptDropped   = "dropped"

	scriptPutSession   = "session_put"
	scriptRenewSession = "session_renew"
	scriptEndSession   = "session_end"

	// Of an operator, sent as they are; they set the identity that all others compare first.
	scriptAdopt    = "adopt"
	scriptDirAdopt = "diradopt"

	includeMark = "--#include "
	guardMark   = "#!lua" // the first line of every script; the guard follows it
)

func loadScripts() (scripts, error) {
	all := make(scripts)
	for _, name := range scriptNames() {
		text, err := assemble(name)
		if err != nil {
			return nil, err
		}
		sum := sha1.Sum([]byte(text)) //nolint:gosec // see the import
		all[name] = &script{name: name, text: text, sha: hex.EncodeToString(sum[:])}
	}
	return all, nil
}

// assemble puts the included files where the script names them.
func assemble(name string) (string, error) {
	body, err := scriptFiles.ReadFile("lua/" + name + ".lua")
	if err != nil {
		return "", fmt.Errorf("reading a script: %w", err)
	}
	var b strings.Builder
	for line := range strings.Lines(string(body)) {
		list, ok := strings.CutPrefix(line, includeMark)
		if strings.HasPrefix(line, guardMark) && name != scriptAdopt && name != scriptDirAdopt {
			list, ok = "guard", true
			b.WriteString(line)
		}
		if !ok {
			b.WriteString(line)
			continue
		}
		for part := range strings.FieldsSeq(list) {
			text, err := scriptFiles.ReadFile("lua/" + part + ".inc.lua")
			if err != nil {
				return "", fmt.Errorf("reading what script %s includes: %w", name, err)
			}
			b.Write(text)
		}
	}
	return b.String(), nil
}
