//! The forms that metrics come in.

/// A form of metrics, the better the greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Form {
    /// The text form of Prometheus.
    Text,
    /// OpenMetrics of before its first version.
    OpenDraft,
    /// OpenMetrics 1.0.0.
    Open,
}

impl Form {
    /// By its `Content-Type`. What has none, or an unknown one, is taken for text as by Prometheus;
    /// none for what is certainly something else, such as the page of an error, which would spoil
    /// what others say.
    pub fn of(content_type: Option<&str>) -> Option<Self> {
        let said = content_type.unwrap_or_default().to_ascii_lowercase();
        let mut parts = said.split(';').map(str::trim);
        match parts.next().unwrap_or_default() {
            OPEN => match parts.find_map(|part| part.strip_prefix("version=")) {
                Some(version) if version.trim_matches('"') == "1.0.0" => Some(Self::Open),
                Some(version) if version.trim_matches('"') != "0.0.1" => Some(Self::Text),
                _ => Some(Self::OpenDraft),
            },
            kind if NOT_METRICS.contains(&kind) => None,
            _ => Some(Self::Text),
        }
    }

    /// What all are given in: the least of OpenMetrics, if it is all that, and otherwise text.
    pub fn of_all(forms: impl IntoIterator<Item = Self>) -> Self {
        forms.into_iter().min().unwrap_or(Self::Text)
    }

    /// Its `Content-Type`.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Text => hawser_rt::metrics::CONTENT_TYPE,
            Self::OpenDraft => "application/openmetrics-text; version=0.0.1; charset=utf-8",
            Self::Open => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    /// How it ends.
    pub fn ending(self) -> &'static [u8] {
        match self {
            Self::Text => b"",
            Self::OpenDraft | Self::Open => b"# EOF\n",
        }
    }
}

const OPEN: &str = "application/openmetrics-text";
const NOT_METRICS: [&str; 4] =
    ["text/html", "application/json", "application/xml", "application/vnd.google.protobuf"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_is_told_by_its_content_type() {
        let table = [
            (None, Some(Form::Text)),
            (Some("text/plain; version=0.0.4; charset=utf-8"), Some(Form::Text)),
            (Some("text/plain; version=1.0.0; escaping=allow-utf-8"), Some(Form::Text)),
            (Some("something/else"), Some(Form::Text)),
            (Some("application/openmetrics-text"), Some(Form::OpenDraft)),
            (Some("application/openmetrics-text; version=0.0.1"), Some(Form::OpenDraft)),
            (Some("Application/OpenMetrics-Text;version=\"1.0.0\";x=y"), Some(Form::Open)),
            (Some("application/openmetrics-text; version=2.0.0"), Some(Form::Text)),
            (Some("text/html; charset=utf-8"), None),
            (Some("application/vnd.google.protobuf; encoding=delimited"), None),
        ];
        for (said, form) in table {
            assert_eq!(Form::of(said), form, "{said:?}");
        }
    }

    #[test]
    fn all_have_to_be_openmetrics_for_the_answer_to_be() {
        let table: [(&[Form], Form); 5] = [
            (&[], Form::Text),
            (&[Form::Open], Form::Open),
            (&[Form::Open, Form::OpenDraft], Form::OpenDraft),
            (&[Form::Open, Form::Text], Form::Text),
            (&[Form::OpenDraft, Form::OpenDraft], Form::OpenDraft),
        ];
        for (forms, form) in table {
            assert_eq!(Form::of_all(forms.iter().copied()), form, "{forms:?}");
        }
    }
}
