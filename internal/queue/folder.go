package queue

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
)

// FolderName names the folder of a lane's queue: readable, the same for ever, and never the same for two lanes. It
// does not depend on what the config calls the cloud, so renaming one keeps its queue, and another account never
// inherits it. The parts are shortened and cleaned for people to read; the digest at the end tells lanes apart.
func FolderName(platform, account, lane string) string {
	sum := sha256.Sum256([]byte(platform + "\x00" + account + "\x00" + lane))
	parts := []string{readable(platform), readable(account), readable(lane), hex.EncodeToString(sum[:5])}
	kept := parts[:0]
	for _, p := range parts {
		if p != "" {
			kept = append(kept, p)
		}
	}
	return strings.Join(kept, "-")
}

// readable keeps what every file system takes, letters in lower case as some do not tell them apart.
func readable(s string) string {
	const most = 32
	var b strings.Builder
	for _, r := range strings.ToLower(s) {
		switch {
		case b.Len() >= most:
		case 'a' <= r && r <= 'z', '0' <= r && r <= '9':
			b.WriteRune(r)
		case b.Len() > 0 && !strings.HasSuffix(b.String(), "-"):
			b.WriteByte('-')
		}
	}
	return strings.Trim(b.String(), "-")
}
