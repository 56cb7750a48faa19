//! Prometheus and Alertmanager, as tight as they go: scrape and evaluation each second, no wait.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::lanes::{Lanes, Program};
use crate::programs::{free_port, home, start};

/// Both; `None` where one of them is not here.
pub(crate) fn prometheus(lanes: &Lanes) -> anyhow::Result<Option<Program>> {
    let (Some(prometheus), Some(manager)) =
        (in_path("prometheus"), in_path("prometheus-alertmanager"))
    else {
        return Ok(None);
    };
    let (home, port, manager_port) = (home()?, free_port()?, free_port()?);
    let file = |name: &str| home.path().join(name).display().to_string();
    std::fs::write(home.path().join("alertmanager.yml"), routes(lanes)?)?;
    std::fs::write(home.path().join("rules.yml"), rules(lanes)?)?;
    std::fs::write(
        home.path().join("prometheus.yml"),
        format!(
            "global:\n  scrape_interval: 1s\n  evaluation_interval: 1s\nrule_files: ['{}']\n\
             alerting:\n  alertmanagers:\n  - static_configs: [{{targets: ['127.0.0.1:{manager_port}']}}]\n\
             scrape_configs:\n- job_name: lanes\n  static_configs: [{{targets: ['127.0.0.1:{}']}}]\n",
            file("rules.yml"),
            lanes.page
        ),
    )?;
    let told = [
        format!("--config.file={}", file("alertmanager.yml")),
        format!("--storage.path={}", file("alertmanager")),
        format!("--web.listen-address=127.0.0.1:{manager_port}"),
        "--cluster.listen-address=".to_owned(),
        "--log.level=error".to_owned(),
    ];
    let alertmanager = start(&manager, &told, manager_port, &home.path().join("am.log"), None)?;
    let told = [
        format!("--config.file={}", file("prometheus.yml")),
        format!("--storage.tsdb.path={}", file("tsdb")),
        format!("--web.listen-address=127.0.0.1:{port}"),
        "--log.level=error".to_owned(),
    ];
    let log = home.path().join("prometheus.log");
    let title = format!("Prometheus {} + Alertmanager {}", version(&prometheus), version(&manager));
    let scraper = start(&prometheus, &told, port, &log, Some(home))?;
    Ok(Some(Program { title, counts_at: None, _running: vec![scraper, alertmanager] }))
}

fn rules(lanes: &Lanes) -> anyhow::Result<String> {
    let mut text = "groups:\n- name: lanes\n  rules:\n".to_owned();
    for lane in &lanes.list {
        let number = lane.number;
        writeln!(text, "  - alert: lane-{number}\n    expr: lane_{number}_level > 0")?;
    }
    Ok(text)
}

fn routes(lanes: &Lanes) -> anyhow::Result<String> {
    let mut routes = "route:\n  receiver: nobody\n  group_by: [alertname]\n  group_wait: 0s\n  \
                      group_interval: 1s\n  repeat_interval: 1h\n  routes:\n"
        .to_owned();
    let mut receivers = "receivers:\n- name: nobody\n".to_owned();
    for lane in &lanes.list {
        let (number, port) = (lane.number, lane.port);
        writeln!(
            routes,
            "  - matchers: ['alertname=\"lane-{number}\"']\n    receiver: lane-{number}"
        )?;
        writeln!(
            receivers,
            "- name: lane-{number}\n  webhook_configs:\n  - url: http://127.0.0.1:{port}/\n    send_resolved: true"
        )?;
    }
    Ok(routes + &receivers)
}

fn in_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut candidates = std::env::split_paths(&path).map(|directory| directory.join(program));
    candidates.find(|path| path.is_file())
}

/// The first number with two points in what the program says of itself.
fn version(program: &Path) -> String {
    let output = Command::new(program).arg("--version").output();
    let output = output.map(|o| [o.stdout, o.stderr].concat()).unwrap_or_default();
    let text = String::from_utf8_lossy(&output).into_owned();
    let is_part = |c: char| c.is_ascii_digit() || c == '.';
    let mut words = text.split(|c: char| !is_part(c)).filter(|word| word.matches('.').count() == 2);
    words.next().unwrap_or("").to_owned()
}
