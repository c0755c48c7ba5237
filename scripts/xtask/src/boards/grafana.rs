//! Grafana's classic JSON: boards of rows of panels of queries.

use serde_json::{Value, json};

/// The JSON that Grafana 10 writes, which everything since reads.
const SCHEMA_VERSION: u32 = 39;
/// Width of a board in Grafana's units.
const COLUMNS: u32 = 24;
/// The board that a node's name leads to.
const NODE_LINK: &str = "/d/ringcast-node?${datasource:queryparam}&${cluster:queryparam}&var-node=${__field.labels.node}&${__url_time_range}";

/// The same from a cell of a table.
const NODE_CELL_LINK: &str = "/d/ringcast-node?${datasource:queryparam}&${cluster:queryparam}&var-node=${__value.text}&${__url_time_range}";

/// A board.
pub struct Board {
    /// Its name in addresses, and of its file; links rely on it.
    pub uid: &'static str,
    /// What people call it.
    pub title: &'static str,
    /// What it is for.
    pub about: &'static str,
    /// Whether nodes can be chosen.
    pub by_node: bool,
    /// From top to bottom.
    pub rows: Vec<Row>,
}

/// Panels below a title.
pub struct Row {
    title: &'static str,
    panels: Vec<Panel>,
}

/// A row.
pub fn row<const N: usize>(title: &'static str, panels: [Panel; N]) -> Row {
    let panels = panels.into();
    Row { title, panels }
}

/// Something to look at.
pub struct Panel {
    kind: &'static str,
    title: &'static str,
    about: &'static str,
    unit: &'static str,
    size: (u32, u32),
    queries: Vec<(String, &'static str)>,
    /// Of a table: what each query becomes.
    columns: Vec<Column>,
    is_stacked: bool,
    max: Option<f64>,
    least_max: Option<f64>,
    base: &'static str,
    thresholds: Vec<(f64, &'static str)>,
    colours: Vec<(&'static str, &'static str)>,
    is_by_node: bool,
    is_named: bool,
    if_none: Option<&'static str>,
}

/// What stands below a query's legend in a table.
#[derive(Clone, Copy)]
enum Column {
    /// Its value, in this unit.
    Value(&'static str),
    /// The value of this label.
    Word(&'static str),
}

/// Lines over time. `unit` is Grafana's word for it; `about` says what one sees.
pub fn series(title: &'static str, unit: &'static str, about: &'static str) -> Panel {
    Panel::new("timeseries", (8, 8), title, unit, about)
}

/// One number for each query.
pub fn stat(title: &'static str, unit: &'static str, about: &'static str) -> Panel {
    Panel::new("stat", (3, 4), title, unit, about)
}

/// A bar for each series, as long as its last value says.
pub fn bars(title: &'static str, unit: &'static str, about: &'static str) -> Panel {
    Panel::new("bargauge", (8, 8), title, unit, about)
}

/// How a histogram's observations spread over time.
pub fn heatmap(title: &'static str, unit: &'static str, about: &'static str) -> Panel {
    Panel::new("heatmap", (8, 8), title, unit, about)
}

/// A row for each node, and what there is to say of it now. Its queries answer with one series a node, and `node` is their label.
pub fn table_of_nodes(title: &'static str, about: &'static str) -> Panel {
    Panel::new("table", (24, 9), title, "short", about)
}

impl Panel {
    fn new(
        kind: &'static str,
        size: (u32, u32),
        title: &'static str,
        unit: &'static str,
        about: &'static str,
    ) -> Self {
        Self {
            kind,
            title,
            about,
            unit,
            size,
            queries: Vec::new(),
            columns: Vec::new(),
            is_stacked: false,
            max: None,
            least_max: None,
            base: "green",
            thresholds: Vec::new(),
            colours: Vec::new(),
            is_by_node: false,
            is_named: false,
            if_none: None,
        }
    }

    /// Asks this. `@cluster` and `@node` stand for the labels that are chosen, `@rate` for the time that a rate is taken over.
    pub fn ask(mut self, expression: &str, legend: &'static str) -> Self {
        let expression = expression
            .replace("@node", "cluster=~\"$cluster\",node=~\"$node\"")
            .replace("@cluster", "cluster=~\"$cluster\"")
            .replace("@rate", "$__rate_interval");
        self.queries.push((expression, legend));
        self
    }

    /// A column of a table: values in `unit`, which is Grafana's word for it.
    pub fn column(mut self, title: &'static str, unit: &'static str, expression: &str) -> Self {
        self.columns.push(Column::Value(unit));
        self.ask(expression, title)
    }

    /// A column of a table: the value of `label`, of the one series of each node that has it.
    pub fn word(mut self, title: &'static str, label: &'static str, expression: &str) -> Self {
        self.columns.push(Column::Word(label));
        self.ask(expression, title)
    }

    /// Lines lie on each other: their sum means something.
    pub fn stacked(mut self) -> Self {
        self.is_stacked = true;
        self
    }

    /// The axis ends there.
    pub fn up_to(mut self, max: f64) -> Self {
        self.max = Some(max);
        self
    }

    /// The axis goes so far at least, so that a limit is seen where all is well.
    pub fn at_least_to(mut self, max: f64) -> Self {
        self.least_max = Some(max);
        self
    }

    /// Below all thresholds it has that colour.
    pub fn base(mut self, colour: &'static str) -> Self {
        self.base = colour;
        self
    }

    /// The series of that name has that colour.
    pub fn colour(mut self, name: &'static str, colour: &'static str) -> Self {
        self.colours.push((name, colour));
        self
    }

    /// Its series are shown by name: what they count is no news.
    pub fn named(mut self) -> Self {
        self.is_named = true;
        self
    }

    /// What is shown in place of "No data" where there is nothing while all is well.
    pub fn if_none(mut self, text: &'static str) -> Self {
        self.if_none = Some(text);
        self
    }

    /// From there on it has that colour.
    pub fn from(mut self, value: f64, colour: &'static str) -> Self {
        self.thresholds.push((value, colour));
        self
    }

    /// Its lines are nodes: each leads to the node's board.
    pub fn by_node(mut self) -> Self {
        self.is_by_node = true;
        self
    }

    fn json(&self, id: u32, (x, y): (u32, u32), w: u32) -> Value {
        let (_, h) = self.size;
        let refs = ('A'..='Z').map(String::from);
        let targets = self
            .queries
            .iter()
            .zip(refs)
            .map(|((expression, legend), name)| {
                json!({
                    "datasource": datasource(),
                    "expr": expression,
                    "format": match self.kind {
                        "heatmap" => "heatmap",
                        "table" => "table",
                        _ => "time_series",
                    },
                    "instant": self.is_now(),
                    "legendFormat": legend,
                    "range": !self.is_now(),
                    "refId": name,
                })
            });
        let mut panel = json!({
            "datasource": datasource(),
            "description": self.about,
            "fieldConfig": { "defaults": self.defaults(), "overrides": self.overrides() },
            "gridPos": { "h": h, "w": w, "x": x, "y": y },
            "id": id,
            "options": self.options(),
            "targets": targets.collect::<Vec<_>>(),
            "title": self.title,
            "type": self.kind,
        });
        if self.kind == "table" {
            panel["transformations"] = self.transformations();
        }
        panel
    }

    /// One row of what all queries say of a node, without what only says how that came about.
    fn transformations(&self) -> Value {
        let (mut hidden, mut titles) = (json!({}), json!({ "node": "Node" }));
        let refs = 'A'..='Z';
        for (nth, ((name, (_, title)), column)) in
            (1..).zip(refs.zip(&self.queries).zip(&self.columns))
        {
            hidden[format!("Time {nth}")] = json!(true);
            let value = format!("Value #{name}");
            match column {
                Column::Value(_) => titles[value] = json!(title),
                Column::Word(label) => {
                    hidden[value] = json!(true);
                    titles[*label] = json!(title);
                }
            }
        }
        json!([
            { "id": "joinByField", "options": { "byField": "node", "mode": "outer" } },
            { "id": "organize", "options": { "excludeByName": hidden, "indexByName": {}, "renameByName": titles } },
        ])
    }

    /// Whether it shows what is, without what was.
    fn is_now(&self) -> bool {
        matches!(self.kind, "stat" | "bargauge" | "table")
    }

    /// A node has the same colour in every panel.
    fn colouring(&self) -> &'static str {
        let are_nodes = self.queries.iter().all(|(_, legend)| *legend == "{{node}}");
        match (self.is_now(), are_nodes) {
            (true, _) => "thresholds",
            (false, true) => "palette-classic-by-name",
            (false, false) => "palette-classic",
        }
    }

    /// Columns of a table have units of their own; series may have colours.
    fn overrides(&self) -> Vec<Value> {
        let colour = |(name, colour): &(&str, &str)| {
            json!({
                "matcher": { "id": "byName", "options": name },
                "properties": [{ "id": "color", "value": { "fixedColor": colour, "mode": "fixed" } }],
            })
        };
        if self.kind != "table" {
            return self.colours.iter().map(colour).collect();
        }
        let of = |title: &str, id: &str, value: Value| {
            json!({
                "matcher": { "id": "byName", "options": title },
                "properties": [{ "id": id, "value": value }],
            })
        };
        let link = json!([{ "title": "Its board", "url": NODE_CELL_LINK }]);
        let units = self.queries.iter().zip(&self.columns);
        let units = units.filter_map(|((_, title), column)| match column {
            Column::Value(unit) => Some(of(title, "unit", json!(unit))),
            Column::Word(_) => None,
        });
        [of("Node", "links", link)]
            .into_iter()
            .chain(units)
            .collect()
    }

    fn defaults(&self) -> Value {
        let mut steps = vec![json!({ "color": self.base, "value": null })];
        let more = self.thresholds.iter();
        steps.extend(more.map(|(value, colour)| json!({ "color": colour, "value": value })));
        let mut defaults = json!({
            "color": { "mode": self.colouring() },
            "min": 0,
            "thresholds": { "mode": "absolute", "steps": steps },
            "unit": self.unit,
        });
        if self.kind == "timeseries" {
            defaults["custom"] = json!({
                "fillOpacity": if self.is_stacked { 30 } else { 5 },
                "lineWidth": 1,
                "showPoints": "never",
                "spanNulls": false,
                "stacking": { "group": "A", "mode": if self.is_stacked { "normal" } else { "none" } },
                "thresholdsStyle": { "mode": if self.thresholds.is_empty() { "off" } else { "line" } },
            });
        }
        if let Some(max) = self.least_max {
            defaults["custom"]["axisSoftMax"] = json!(max);
        }
        if let Some(max) = self.max {
            defaults["max"] = json!(max);
        }
        if let Some(text) = self.if_none {
            defaults["noValue"] = json!(text);
        }
        if self.is_by_node {
            defaults["links"] =
                json!([{ "title": "Node ${__field.labels.node}", "url": NODE_LINK }]);
        }
        defaults
    }

    fn options(&self) -> Value {
        match self.kind {
            "stat" => json!({
                "colorMode": "value",
                "graphMode": "none",
                "justifyMode": "auto",
                "orientation": "auto",
                "reduceOptions": { "calcs": ["lastNotNull"], "fields": "", "values": false },
                "textMode": if self.is_named { "name" } else { "auto" },
            }),
            "bargauge" => json!({
                "displayMode": "basic",
                "minVizHeight": 16,
                "orientation": "horizontal",
                "reduceOptions": { "calcs": ["lastNotNull"], "fields": "", "values": false },
                "showUnfilled": true,
                "valueMode": "color",
            }),
            "table" => json!({
                "cellHeight": "sm",
                "showHeader": true,
                "sortBy": [{ "desc": false, "displayName": "Node" }],
            }),
            "heatmap" => json!({
                "calculate": false,
                "cellGap": 1,
                "color": { "exponent": 0.5, "mode": "scheme", "scheme": "Oranges", "steps": 64 },
                "legend": { "show": true },
                "rowsFrame": { "layout": "auto" },
                "tooltip": { "mode": "single", "showColorScale": false, "yHistogram": false },
                "yAxis": { "axisPlacement": "left", "unit": self.unit },
            }),
            _ => json!({
                "legend": {
                    "calcs": ["lastNotNull", "max"],
                    "displayMode": "table",
                    "placement": "bottom",
                    "showLegend": true,
                    // What counts is seen without scrolling.
                    "sortBy": "Last *",
                    "sortDesc": true,
                },
                "tooltip": { "mode": "multi", "sort": "desc" },
            }),
        }
    }
}

impl Row {
    /// Panels with their widths, line by line. Those of a line with room to spare share it.
    fn lines(&self) -> Vec<Vec<(&Panel, u32)>> {
        let mut lines: Vec<Vec<(&Panel, u32)>> = Vec::new();
        let mut room = 0;
        for panel in &self.panels {
            if panel.size.0 > room {
                lines.push(Vec::new());
                room = COLUMNS;
            }
            room -= panel.size.0;
            let line = lines.last_mut().expect("one was begun");
            line.push((panel, panel.size.0));
        }
        for line in &mut lines {
            let (count, taken) = (line.len() as u32, line.iter().map(|(_, w)| w).sum::<u32>());
            if taken < COLUMNS && COLUMNS.is_multiple_of(count) {
                line.iter_mut()
                    .for_each(|(_, width)| *width = COLUMNS / count);
            }
        }
        lines
    }
}

impl Board {
    /// The file.
    pub fn text(&self) -> String {
        let board = json!({
            "annotations": { "list": [] },
            "description": self.about,
            "editable": false,
            "fiscalYearStartMonth": 0,
            "graphTooltip": 1,
            "id": null,
            "links": links(),
            "panels": self.panels(),
            "refresh": "30s",
            "schemaVersion": SCHEMA_VERSION,
            "tags": ["ringcast"],
            "templating": { "list": self.variables() },
            "time": { "from": "now-1h", "to": "now" },
            "timepicker": {},
            "timezone": "browser",
            "title": self.title,
            "uid": self.uid,
            "version": 1,
        });
        format!("{board:#}\n")
    }

    /// Panels fill each row from left to right, and begin a new line where they don't fit.
    fn panels(&self) -> Vec<Value> {
        let mut panels = Vec::new();
        let (mut id, mut y) = (0, 0);
        for row in &self.rows {
            id += 1;
            panels.push(json!({
                "collapsed": false,
                "gridPos": { "h": 1, "w": COLUMNS, "x": 0, "y": y },
                "id": id,
                "panels": [],
                "title": row.title,
                "type": "row",
            }));
            y += 1;
            for line in row.lines() {
                let (mut x, mut height) = (0, 0);
                for (panel, width) in line {
                    id += 1;
                    panels.push(panel.json(id, (x, y), width));
                    x += width;
                    height = height.max(panel.size.1);
                }
                y += height;
            }
        }
        panels
    }

    fn variables(&self) -> Vec<Value> {
        let mut variables = vec![
            json!({
                "current": {},
                "hide": 0,
                "label": "Prometheus",
                "name": "datasource",
                "query": "prometheus",
                "refresh": 1,
                "regex": "",
                "type": "datasource",
            }),
            choice(
                "cluster",
                "Cluster",
                "label_values(ringcast_master_build_info, cluster)",
            ),
        ];
        if self.by_node {
            let query = "label_values(ringcast_node_build_info{cluster=~\"$cluster\"}, node)";
            variables.push(choice("node", "Node", query));
        }
        variables
    }
}

/// Whose values are found by asking. "All" is also what has no such label.
fn choice(name: &str, label: &str, query: &str) -> Value {
    json!({
        "allValue": ".*",
        "current": { "selected": true, "text": ["All"], "value": ["$__all"] },
        "datasource": datasource(),
        "definition": query,
        "hide": 0,
        "includeAll": true,
        "label": label,
        "multi": true,
        "name": name,
        "query": { "query": query, "refId": "variables" },
        "refresh": 2,
        "regex": "",
        "sort": 1,
        "type": "query",
    })
}

/// To the other boards, with what is chosen here.
fn links() -> Value {
    json!([{
        "asDropdown": false,
        "icon": "external link",
        "includeVars": true,
        "keepTime": true,
        "tags": ["ringcast"],
        "targetBlank": false,
        "title": "Ringcast",
        "type": "dashboards",
    }])
}

fn datasource() -> Value {
    json!({ "type": "prometheus", "uid": "${datasource}" })
}
