//! The HTML part: light as it is written, dark where the reader's program asks for that.
//!
//! What every program understands stands with each element; what only some do, in one sheet of style: the
//! dark colours, and which of the two pictures is shown. A program that drops the sheet shows a whole,
//! light mail. Letters and what is behind them are set together everywhere, so no scheme of a program's
//! own makes one vanish in the other.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::{Of, Page, Section};
use crate::rules::Level;

const SHEET: &str = "
:root{color-scheme:light dark;supported-color-schemes:light dark}
@media (prefers-color-scheme:dark){
.paper{background-color:#111315!important;color:#e3e3e3!important}
.card{background-color:#1e1f22!important;border-color:#3a3c40!important;color:#e3e3e3!important}
.row,.quiet{color:#a0a0a0!important}
.cell,.row{border-color:#33353a!important}
.link,.other{color:#8ab4f8!important}
.other{background-color:#1e1f22!important;border-color:#55585e!important}
.act{background-color:#8ab4f8!important;border-color:#8ab4f8!important;color:#111315!important}
.light{display:none!important}
.dark{display:block!important;max-height:none!important}
}";

const PAPER: &str = "margin:0;padding:16px;background-color:#f3f4f6;color:#222222;\
    font-family:-apple-system,BlinkMacSystemFont,'Segoe UI',Roboto,Helvetica,Arial,sans-serif;\
    font-size:15px;line-height:1.45";
const CARD: &str = "max-width:680px;margin:0 auto 16px;padding:20px 24px;background-color:#ffffff;\
    color:#222222;border:1px solid #dddfe3;border-radius:8px";
const IMAGE: &str = "width:100%;max-width:640px;height:auto;border:0";

impl Page {
    pub(super) fn html(&self) -> Markup {
        html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    meta name="supported-color-schemes" content="light dark";
                    title { (self.subject) }
                    style { (PreEscaped(SHEET)) }
                }
                body.paper style=(PAPER) {
                    @for note in &self.notes {
                        div.card style=(CARD) { strong { (note) } }
                    }
                    @if let Some(count) = &self.count {
                        div.card style=(CARD) { strong { (count) } }
                    }
                    @for section in &self.sections { (section.html()) }
                    @for of in &self.digest { (of.html()) }
                    (self.footer())
                }
            }
        }
    }

    fn footer(&self) -> Markup {
        html! {
            div.quiet style="max-width:680px;margin:0 auto;padding:0 24px;color:#5f6368;font-size:13px" {
                p style="margin:4px 0" { "Sent by tallyd at " (link(&self.server, &self.server)) }
                @for command in &self.commands {
                    p style="margin:4px 0" { code { (command) } }
                }
            }
        }
    }
}

impl Section {
    fn html(&self) -> Markup {
        let (value, change) = &self.headline;
        html! {
            div.card style=(CARD) {
                h2 style="font-size:18px;line-height:1.3;margin:0 0 8px;overflow-wrap:anywhere" {
                    (badge(self.level)) " " (self.title)
                }
                p style="margin:0 0 4px" { (self.happened) }
                @if !self.summary.is_empty() { p style="margin:0 0 4px" { (self.summary) } }
                p style="margin:12px 0;font-size:26px;line-height:1.2;font-weight:600" {
                    (value)
                    @if let Some(change) = change {
                        " " span.quiet style="font-size:16px;font-weight:400;color:#5f6368" { (change) }
                    }
                }
                @if let Some([light, dark, title]) = &self.picture {
                    div style="margin:12px 0" {
                        img.light src={ "cid:" (light) } alt=(title) width="640" style=(IMAGE);
                        div.dark style="display:none;max-height:0;overflow:hidden;mso-hide:all" {
                            img src={ "cid:" (dark) } alt=(title) width="640" style=(IMAGE);
                        }
                    }
                }
                (self.buttons())
                table role="presentation" style="border-collapse:collapse;width:100%;margin:8px 0 0" {
                    @for (name, text) in &self.rows { (row(name, text)) }
                }
            }
        }
    }

    /// What can be done, as links that look like buttons; what is no link stays text.
    fn buttons(&self) -> Markup {
        const BUTTON: &str = "display:inline-block;padding:8px 16px;margin:0 8px 8px 0;\
            border:1px solid #1558b0;border-radius:6px;text-decoration:none;font-weight:600";
        html! {
            @if !self.links.is_empty() {
                div style="margin:12px 0 4px" {
                    @for (place, (name, url)) in self.links.iter().enumerate() {
                        @if !is_link(url) {
                            p style="margin:0 0 8px" { (name) ": " (url) }
                        } @else if place == 0 && *name != "Runbook" {
                            a.act href=(url)
                                style={ (BUTTON) ";background-color:#1558b0;color:#ffffff" } { (name) }
                        } @else {
                            a.other href=(url)
                                style={ (BUTTON) ";background-color:#ffffff;color:#1558b0" } { (name) }
                        }
                    }
                }
            }
        }
    }
}

impl Of {
    fn html(&self) -> Markup {
        html! {
            div.card style=(CARD) {
                h2 style="font-size:17px;line-height:1.3;margin:0 0 8px" {
                    (badge(self.level)) " " (self.rule) ": " (self.count)
                }
                table role="presentation" style="border-collapse:collapse;width:100%" {
                    @for (level, line) in &self.lines { (row(level.name(), line)) }
                }
                @if self.more > 0 {
                    p.quiet style="margin:8px 0 0;color:#5f6368" { "… and " (self.more) " more" }
                }
            }
        }
    }
}

fn badge(level: Level) -> Markup {
    let style = format!(
        "display:inline-block;background-color:{};color:#ffffff;padding:2px 8px;border-radius:4px;\
         font-size:13px;line-height:1.5;vertical-align:1px",
        colour(level)
    );
    html! { span style=(style) { (level.name()) } }
}

fn row(name: &str, text: &str) -> Markup {
    const NAME: &str = "text-align:left;vertical-align:top;padding:5px 16px 5px 0;font-weight:400;\
        white-space:nowrap;color:#5f6368;border-top:1px solid #eceef0";
    const CELL: &str = "vertical-align:top;padding:5px 0;width:100%;border-top:1px solid #eceef0;\
        overflow-wrap:anywhere";
    html! {
        tr {
            th.row scope="row" style=(NAME) { (name) }
            td.cell style=(CELL) { (text) }
        }
    }
}

/// Whether a reader may follow it; other schemes, such as `javascript:`, are text.
fn is_link(url: &str) -> bool {
    url.starts_with("http://") || url.starts_with("https://")
}

fn link(url: &str, name: &str) -> Markup {
    if is_link(url) {
        html! { a.link href=(url) style="color:#1558b0" { (name) } }
    } else {
        html! { (name) }
    }
}

/// White letters stand out from each of these by a contrast of 4.5 or more.
fn colour(level: Level) -> &'static str {
    match level {
        Level::Ok => "#1e6b34",
        Level::Warning => "#8a5a00",
        Level::Unknown => "#5b4a8a",
        Level::Critical => "#b3261e",
    }
}
