package adafruitio

import (
	"encoding/json"
	"net/http"
	"net/url"

	"cloudbridge/platforms"
)

// BudgetRequest asks the account for its rate limit, which IO Boost and the vendor can raise beyond the plan's.
func (p *Platform) BudgetRequest() *platforms.Request {
	if p.api == "" {
		return nil
	}
	return &platforms.Request{
		Method: http.MethodGet,
		URL:    p.api + "/" + url.PathEscape(p.user) + "/throttle",
		Header: http.Header{"X-Aio-Key": {p.session.Password.Reveal()}},
	}
}

// ParseBudget reads data_rate_limit, the points that the account may write in a minute.
func (p *Platform) ParseBudget(status int, body []byte) (perMinute int, ok bool) {
	var answer struct {
		Limit int `json:"data_rate_limit"`
	}
	if status != http.StatusOK || json.Unmarshal(body, &answer) != nil || answer.Limit <= 0 {
		return 0, false
	}
	return answer.Limit, true
}
