//! What is loaded for each setting, as a text.

use hawser_intercept::plan::Plan;

use crate::{cases, netns::Namespace};

#[test]
fn every_setting_has_its_rules_and_nft_takes_them() {
    let namespace = Namespace::new();
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("../golden");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    for (name, options, machine) in cases::all() {
        let (plan, warnings) = Plan::new(&options, &machine);
        let mut text = String::new();
        for warning in &warnings {
            text.push_str(&format!("# {warning}\n"));
        }
        text.push_str(&format!("# gates {:?}\n# {:?}\n", plan.gates(), plan.routes()));
        text.push_str(plan.ruleset());
        settings.bind(|| insta::assert_snapshot!(name, text));
        // Control groups of units are looked up by nft itself; there are none in a test.
        if !plan.ruleset().contains("cgroupv2") {
            namespace.check(plan.ruleset()).unwrap_or_else(|said| panic!("{name}: {said}"));
        }
    }
}
