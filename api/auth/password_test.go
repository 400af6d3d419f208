package auth_test

import (
	"errors"
	"strings"
	"testing"

	"trackchat/api/auth"
)

func TestPasswordVerifiesOnlyAgainstItsHash(t *testing.T) {
	for _, pw := range []string{"demo", "пароль с пробелами", strings.Repeat("x", 1024), "a\x00b"} {
		hash, err := auth.HashPassword(pw)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(hash, "$argon2id$v=19$m=19456,t=2,p=1$") {
			t.Errorf("hash %q does not tell its parameters", hash)
		}
		if !auth.VerifyPassword(hash, pw) {
			t.Errorf("%q does not verify against its own hash", pw)
		}
		for _, other := range []string{"", pw + "x", strings.ToUpper(pw) + "!", pw[:len(pw)-1]} {
			if auth.VerifyPassword(hash, other) {
				t.Errorf("%q verifies against the hash of %q", other, pw)
			}
		}
	}
}

func TestPasswordHashesAreSalted(t *testing.T) {
	a, errA := auth.HashPassword("demo")
	b, errB := auth.HashPassword("demo")
	if errA != nil || errB != nil || a == b {
		t.Errorf("two hashes of one password: %q (%v), %q (%v)", a, errA, b, errB)
	}
}

func TestPasswordLength(t *testing.T) {
	for _, pw := range []string{"", strings.Repeat("x", 1025)} {
		if _, err := auth.HashPassword(pw); !errors.Is(err, auth.ErrPasswordLength) {
			t.Errorf("password of %d bytes: %v", len(pw), err)
		}
	}
}

// The first Argon2id vector of the reference implementation's own tests (phc-winner-argon2,
// src/test.c): password, somesalt, t=2, m=2^16, p=1.
const foreignHash = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc"

func TestPasswordReadsHashesOfOthers(t *testing.T) {
	if !auth.VerifyPassword(foreignHash, "password") {
		t.Error("the published vector does not verify")
	}
	if auth.VerifyPassword(foreignHash, "Password") {
		t.Error("a wrong password verifies")
	}
}

// Each of these would cost memory or time without end, panic in the hash function, or accept what
// nobody stored.
func TestPasswordRefusesOtherHashes(t *testing.T) {
	change := func(from, to string) string { return strings.Replace(foreignHash, from, to, 1) }
	for name, hash := range map[string]string{
		"empty":          "",
		"plain text":     "password",
		"other scheme":   change("argon2id", "argon2i"),
		"other version":  change("v=19", "v=16"),
		"no version":     change("$v=19", ""),
		"memory":         change("m=65536", "m=4294967295"),
		"little memory":  change("m=65536,t=2,p=1", "m=64,t=2,p=16"),
		"passes":         change("t=2", "t=4294967295"),
		"no passes":      change("t=2", "t=0"),
		"no threads":     change("p=1", "p=0"),
		"threads":        change("p=1", "p=255"),
		"negative":       change("t=2", "t=-2"),
		"order":          change("m=65536,t=2", "t=2,m=65536"),
		"more costs":     change("p=1", "p=1,x=1"),
		"short salt":     change("c29tZXNhbHQ", "c29t"),
		"long salt":      change("c29tZXNhbHQ", strings.Repeat("c29t", 30)),
		"padding":        change("c29tZXNhbHQ", "c29tZXNhbHQ="),
		"no key":         foreignHash[:strings.LastIndexByte(foreignHash, '$')+1],
		"short key":      foreignHash[:strings.LastIndexByte(foreignHash, '$')+9],
		"damaged":        foreignHash[:len(foreignHash)-1] + "!",
		"more fields":    foreignHash + "$",
		"in front":       "x" + foreignHash,
		"without bounds": foreignHash + strings.Repeat("A", 1<<20),
	} {
		if auth.VerifyPassword(hash, "password") {
			t.Errorf("%s: verifies", name)
		}
	}
}

func FuzzVerifyPassword(f *testing.F) {
	f.Add(foreignHash, "password")
	f.Add("$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ$AAAAAAAAAAAAAAAAAAAAAA", "x")
	f.Add("$argon2id$v=19$m=0,t=0,p=0$$", "")
	f.Fuzz(func(t *testing.T, hash, pw string) {
		if auth.VerifyPassword(hash, pw) && (pw == "" || !strings.HasPrefix(hash, "$argon2id$")) {
			t.Errorf("%q verifies against %q", pw, hash)
		}
	})
}

func BenchmarkHashPassword(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := auth.HashPassword("correct horse battery staple"); err != nil {
			b.Fatal(err)
		}
	}
}
