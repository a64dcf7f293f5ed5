package web

import (
	"net/http"

	"robotorq.org/reserve/api"
)

// This file shows a robot: its enrolment, its keys, its chain and its work.

type robotData struct {
	api.Robot
	Versions []api.RobotVersion
	Work     listing[api.RobotWork]
	Reports  listing[api.ReportSummary]
}

func (s *Site) robot(r *http.Request) (view, error) {
	id := r.PathValue("id")
	robot, err := s.options.Reader.Robot(r.Context(), id)
	if err != nil {
		return view{}, err
	}
	d := robotData{Robot: robot}
	versions, err := s.options.Reader.RobotVersions(r.Context(), id, api.Page{Limit: linesOnPage})
	if err != nil {
		return view{}, err
	}
	work, err := s.options.Reader.RobotWork(r.Context(), id, api.Page{Limit: linesOnPage, Cursor: r.URL.Query().Get("work")})
	if err != nil {
		return view{}, err
	}
	reports, err := s.options.Reader.RobotReports(r.Context(), id, pageOf(r))
	if err != nil {
		return view{}, err
	}
	d.Versions, d.Work, d.Reports = versions.Items, listing[api.RobotWork]{Items: work.Items}, listingOf(r, reports, "#reports")
	if work.Next != "" {
		d.Work.Next = r.URL.Path + "?work=" + work.Next + "#work"
	}
	return view{Template: "robot", Title: "Robot " + robot.ID, Section: "robots", Live: atStart(r), Data: d}, nil
}
